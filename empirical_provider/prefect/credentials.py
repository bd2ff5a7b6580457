"""The block that holds the API key and says where Empirical is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, PrivateAttr, SecretStr, model_validator

from empirical_provider import checks
from empirical_provider.addresses import DEFAULT_BASE_URL
from empirical_provider.exceptions import InvalidRequestError
from empirical_provider.hiding import hide
from empirical_provider.prefect.blocks import EmpiricalBlock

if TYPE_CHECKING:
    from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient

__all__ = ["EmpiricalCredentials", "load_saved"]

B = TypeVar("B", bound=Block)


def load_saved(kind: type[B], name: str) -> B:
    """Load a block, whether or not an event loop runs in this thread."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(copy_context().run, asyncio.run, kind.aload(name)).result()


class EmpiricalCredentials(EmpiricalBlock, CredentialsBlock):
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

    @model_validator(mode="after")
    def _refuse_bad_values(self) -> Self:
        from empirical_provider.settings import Settings

        with self._located():
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
    def saved_reference(self) -> str | None:
        """The same as `Block.aload` takes it if it is a block of a subclass: with its slug."""
        if type(self) is EmpiricalCredentials or self.saved_name is None:
            return self.saved_name
        return f"{self.get_block_type_slug()}/{self.saved_name}"

    def __reduce__(self) -> tuple[Callable[..., Block], tuple[Any, ...]]:
        """Pickle the block as its name, by which the other side loads it again.

        Prefect stores the parameters of delayed tasks, and those of remote task runners travel: the
        API key must not be among them.

        Raises:
            InvalidRequestError: The block is not saved as it is.
        """
        name = self.saved_name
        if name is None:
            kind = type(self).__name__
            raise InvalidRequestError(
                f"This {kind} block cannot be sent to another process: it is not saved as it is, "
                f"so its API key would be stored there. Save it with `block.save('NAME')`, and use "
                f"what `{kind}.load('NAME')` returns."
            )
        return load_saved, (type(self), name)

    def reloaded(self) -> Self | None:
        """Load the block again; return it if it has changed, otherwise None.

        It is None, too, where the block is not saved, or Prefect's server does not say.
        """
        name = self.saved_name
        try:
            return None if name is None else self._unless_same(load_saved(type(self), name))
        except Exception:  # noqa: BLE001  # of whatever kind: nothing says that it has changed
            return None

    async def areloaded(self) -> Self | None:
        """Do what `reloaded` does, in an async task."""
        name = self.saved_name
        try:
            return None if name is None else self._unless_same(await self.aload(name))
        except Exception:  # noqa: BLE001  # of whatever kind: nothing says that it has changed
            return None

    def _unless_same(self, again: Self) -> Self | None:
        again._secrets = self._secrets  # what is masked is not saved
        return None if again._client_options() == self._client_options() else again

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
