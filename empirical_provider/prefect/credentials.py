"""The block that holds the API key and says where Empirical is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, PrivateAttr, SecretStr, model_validator

from empirical_provider import checks
from empirical_provider.addresses import DEFAULT_BASE_URL
from empirical_provider.hiding import hide

if TYPE_CHECKING:
    from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient

__all__ = ["EmpiricalCredentials", "known_fields_only"]

_ADDED_BY_PREFECT = (
    "block_type_slug",
    "_block_document_id",
    "_block_document_name",
    "_is_anonymous",
)
"""What Prefect writes next to the fields of a block, and hands back when it reads one."""


def known_fields_only(block: type[Block], values: Any) -> Any:
    """Refuse what is no field of a block; Prefect would silently accept it."""
    if isinstance(values, dict):
        given = [name for name in values if name not in _ADDED_BY_PREFECT]
        checks.known_keys(block.__name__, given, list(block.model_fields))
    return values


class EmpiricalCredentials(CredentialsBlock):
    """An API key of Empirical and where to use it.

    Values are checked when the block is made or loaded. A field that does not exist is refused,
    so that a misspelt one is not silently without effect.

    Attributes:
        api_key: API key of the project, from the dashboard under Settings, API keys.
        base_url: Where the API answers; default ``https://dash.empirical.run``. https only, but
            for hosts of this machine. The environment variable ``EMPIRICAL_BASE_URL`` is not read:
            a block means the same in every process.
        project_id: Needed only for a key that is not bound to a project.
        project_slug: Slug of the project in the dashboard's URLs; looked up when not given.
        dashboard_url: Where runs are shown; default: derived from ``base_url``.
        timeout: Seconds one request may take; default 5 to connect, 60 to start a run, 15 for
            the rest.
        ca_bundle: Path of a PEM file with the authorities to trust instead of the public ones. It
            has to be there where the block is used, not where it is saved.

    Raises:
        pydantic.ValidationError: A value is not valid, or a field is not known. The message never
            holds the key.

    Example:
        Load a saved block and start a test run:

        ```python
        from empirical_provider.prefect import EmpiricalCredentials, trigger_test_run

        credentials = EmpiricalCredentials.load("BLOCK_NAME")
        run = trigger_test_run(credentials=credentials, environment="staging")
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name: ClassVar[str | None] = "Empirical Credentials"
    _block_type_slug: ClassVar[str | None] = "empirical-credentials"
    _description: ClassVar[str | None] = "An API key of Empirical, and where it is used."
    _logo_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://www.empirical.run/images/og/default_og_image.png"
    )
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.empirical.run")

    api_key: SecretStr = Field(
        description="API key of the project, from the dashboard under Settings, API keys."
    )
    base_url: str | None = Field(
        default=None,
        title="Base URL",
        description=f"Where the API answers; {DEFAULT_BASE_URL} if left empty.",
    )
    project_id: int | None = Field(
        default=None,
        title="Project ID",
        description="Id of the project; needed only for a key that is not bound to one.",
    )
    project_slug: str | None = Field(
        default=None,
        description="Slug of the project in the dashboard's URLs; looked up if left empty.",
    )
    dashboard_url: str | None = Field(
        default=None,
        title="Dashboard URL",
        description="Where test runs are shown; derived from the base URL if left empty.",
    )
    timeout: float | None = Field(
        default=None,
        description=(
            "Seconds one request may take; if left empty 5 to connect, 60 to start a run and "
            "15 for the rest."
        ),
    )
    ca_bundle: str | None = Field(
        default=None,
        title="CA Bundle",
        description=(
            "Path of a PEM file with the authorities to trust, wherever flows run; the public "
            "ones if left empty."
        ),
    )

    _secrets: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, values: Any) -> Any:
        return known_fields_only(cls, values)

    @model_validator(mode="after")
    def _refuse_bad_values(self) -> Self:
        from empirical_provider.settings import Settings

        Settings.checked(**self._client_options(), retry_for=0)
        return self

    def _client_options(self) -> dict[str, Any]:
        """Return what both clients are made from; nothing is left for them to find elsewhere."""
        return {
            "api_key": hide(self.api_key.get_secret_value()),
            "base_url": self.base_url or DEFAULT_BASE_URL,
            "project_id": self.project_id,
            "project_slug": self.project_slug or None,  # a form gives an empty text for none
            "dashboard_url": self.dashboard_url or None,
            "timeout": self.timeout,
            "ca_bundle": self.ca_bundle or None,
            "secrets": self._secrets,
        }

    def _masking(self, secrets: Iterable[str]) -> Self:
        """Return a copy whose clients mask these texts in all that they read; it is never saved."""
        copy = self.model_copy()
        copy._secrets = tuple(secrets)  # noqa: SLF001  # our own
        return copy

    def _changed(self, changes: dict[str, Any]) -> dict[str, Any]:
        from empirical_provider.settings import CHANGEABLE

        checks.known_keys("get_client", changes, CHANGEABLE)
        return {**self._client_options(), **changes}

    @property
    def saved_name(self) -> str | None:
        """The name by which the block can be loaded again; None if it was not saved under one."""
        return None if self._is_anonymous else self._block_document_name

    def get_client(self, **changes: Any) -> EmpiricalClient:
        """Return a new client, for use in a ``with`` statement.

        Args:
            **changes: Settings of the client that differ from the block's: timeout, retry_for,
                project_id, project_slug, secrets.

        Raises:
            InvalidRequestError: It is none of those, or its value is not valid.
        """
        from empirical_provider.client import EmpiricalClient  # light until used

        return EmpiricalClient(**self._changed(changes))

    def get_async_client(self, **changes: Any) -> AsyncEmpiricalClient:
        """Return a new async client, for use in an ``async with`` statement; see `get_client`."""
        from empirical_provider.client import AsyncEmpiricalClient  # as above

        return AsyncEmpiricalClient(**self._changed(changes))
