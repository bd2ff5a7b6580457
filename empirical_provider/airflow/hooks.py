"""The hook: from an Airflow connection to a client of the core."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from empirical_provider.airflow import rendered
from empirical_provider.airflow.provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from empirical_provider.airflow.versions import BaseHook, find, in_async
from empirical_provider.exceptions import EmpiricalError, InvalidRequestError
from empirical_provider.hiding import hide

if TYPE_CHECKING:
    from empirical_provider.client import AsyncEmpiricalClient, EmpiricalClient

__all__ = ["EmpiricalHook"]


class EmpiricalHook(BaseHook):
    """Reads a connection of type ``empirical`` and gives clients for it.

    The connection holds the API key in Password, the base URL in Host (empty means
    ``https://dash.empirical.run``) and, as extras, ``project_id``, ``project_slug``,
    ``dashboard_url``, ``environment`` (the default of the tasks), ``timeout`` (seconds) and
    ``ca_bundle`` (path of a PEM file, wherever tasks and triggers run).

    Args:
        empirical_conn_id: Id of the connection; default ``empirical_default``.
    """

    conn_name_attr = "empirical_conn_id"
    default_conn_name = "empirical_default"
    conn_type = "empirical"
    hook_name = "Empirical"

    def __init__(self, empirical_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.empirical_conn_id = empirical_conn_id
        self._found: dict[str, Any] | None = None
        self.secrets: tuple[str, ...] = ()
        """What the clients of `get_conn` mask in all that they read."""

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's fields for Airflow before 3.2; later ones read the provider's info."""
        field_class = find("wtforms:StringField")
        widget = find(
            "flask_appbuilder.fieldwidgets:BS3TextFieldWidget",  # 2.11 draws the widget
            "wtforms.widgets:TextInput",  # later ones go by the field's class alone
        )
        return {
            name: field_class(field["label"], description=field["description"], widget=widget())
            for name, field in CONNECTION_FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the labels of the form for Airflow before 3.2."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}

    def get_conn(self, **changes: Any) -> EmpiricalClient:
        """Return a client for the connection, to be used as a context manager.

        Args:
            **changes: Settings of the client that differ from the connection's: timeout,
                retry_for, project_id, project_slug, secrets.

        Raises:
            InvalidRequestError: The connection is incomplete or has an unknown extra.
        """
        from empirical_provider.client import EmpiricalClient

        given = {"secrets": self.secrets, **_changes(changes)}
        return EmpiricalClient(**{**_for_client(self._settings()), **given})

    async def aget_settings(self) -> dict[str, Any]:
        """Return the settings of a client for the connection; they hold the API key.

        Raises:
            InvalidRequestError: The connection is incomplete or has an unknown extra.
        """
        return _for_client(await in_async(self._settings))

    async def aget_conn(self, **changes: Any) -> AsyncEmpiricalClient:
        """Return an async client for the connection, to be used as a context manager.

        Args:
            **changes: See `get_conn`.

        Raises:
            InvalidRequestError: The connection is incomplete or has an unknown extra.
        """
        from empirical_provider.client import AsyncEmpiricalClient

        return AsyncEmpiricalClient(**{**await self.aget_settings(), **_changes(changes)})

    def changed(self) -> EmpiricalHook | None:
        """Read the connection again; return a hook for it if it has changed, otherwise None.

        Raises:
            InvalidRequestError: The connection is incomplete or has an unknown extra.
        """
        again = EmpiricalHook(self.empirical_conn_id)
        return None if again._settings() == self._settings() else again

    async def achanged(self) -> EmpiricalHook | None:
        """Do what `changed` does, in a coroutine."""
        return await in_async(self.changed)

    def test_connection(self) -> tuple[bool, str]:
        """Read the environments, which starts nothing, and say whether tasks can work with that."""
        try:
            self.get_conn().close()  # checks what every task would use, its timeout included
            with self.get_conn(timeout=10, retry_for=0) as client:
                environments = client.list_environments()
            default = self.default_environment
        except EmpiricalError as error:
            return False, str(error)
        slugs = ", ".join(each.slug for each in environments) or "(none)"
        usable = {each.slug for each in environments if not each.is_disabled}
        if default is not None and default not in usable:
            return False, (
                f"Connection {self.empirical_conn_id!r}: its default environment {default!r} is "
                f"not known or disabled. Environments: {slugs}."
            )
        return True, f"Connected to Empirical; environments: {slugs}."

    @property
    def default_environment(self) -> str | None:
        """The environment that the connection names for tasks that name none."""
        environment: str | None = self._settings().get("environment")
        return environment

    def _settings(self) -> dict[str, Any]:
        """Read the connection, once: on Airflow 3 every look-up is a request."""
        if self._found is None:
            conn_id = self.empirical_conn_id
            self._found = self._read(_Connection(conn_id, self.get_connection(conn_id)))
        return self._found

    @property
    def dashboard_url(self) -> str:
        """Where the connection says that runs are shown.

        Raises:
            InvalidRequestError: The connection is incomplete or has an unknown extra.
        """
        from empirical_provider.addresses import dashboard_of

        settings = self._settings()
        return dashboard_of(settings["base_url"], settings.get("dashboard_url"))

    def _read(self, connection: _Connection) -> dict[str, Any]:
        """Turn a connection into settings; whatever it holds that is not known is refused."""
        from empirical_provider import checks
        from empirical_provider.addresses import DEFAULT_BASE_URL

        where = f"Connection {self.empirical_conn_id!r}"
        if not connection.password:
            raise InvalidRequestError(f"{where}: the Password must hold the Empirical API key.")
        extras = {
            name: value
            for name, value in connection.extras.items()
            if value is not None and value != ""  # the form saves fields that were left empty
        }
        checks.known_keys(f"{where}, extra,", extras, list(CONNECTION_FIELDS))
        for name, read in (("project_id", rendered.as_integer), ("timeout", rendered.as_number)):
            if name in extras:
                extras[name] = read(extras[name])
        if "environment" in extras:
            checks.line(f"{where}, extra, environment", extras["environment"])
        return {
            **extras,
            "api_key": connection.password,
            "base_url": connection.base_url or DEFAULT_BASE_URL,
        }


class _Connection:
    """What is used of a connection. Airflow's own shows the password in its repr."""

    def __init__(self, conn_id: str, connection: Any) -> None:
        self.password = hide(connection.password)
        self.base_url = _base_url(connection)
        _check_extra(conn_id, connection.extra)
        self.extras: Mapping[str, Any] = connection.extra_dejson


def _check_extra(conn_id: str, extra: str | None) -> None:
    """Require a JSON object: anything else is an empty one to Airflow, with a line in the log."""
    if not extra:
        return
    try:
        kind = type(json.loads(extra)).__name__
    except ValueError:
        kind = "text that is no JSON"
    if kind != "dict":
        raise InvalidRequestError(
            f"Connection {conn_id!r}: Extra must be a JSON object with any of "
            f"{', '.join(CONNECTION_FIELDS)}, not {kind}."
        )


def _for_client(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "environment"}


def _changes(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    from empirical_provider import checks
    from empirical_provider.settings import CHANGEABLE

    checks.known_keys("get_conn", changes, CHANGEABLE)
    return changes


def _base_url(connection: Any) -> str:
    """Read Host, a whole URL or (as in connection URIs) a bare host name."""
    from empirical_provider.addresses import address_of

    return address_of(connection.host or "", scheme=connection.schema, port=connection.port)
