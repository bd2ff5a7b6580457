"""What Airflow finds of the provider: its entry point, connection type, form and link."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import airflow as airflow_package
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager

from empirical_provider.airflow import durable, remembering, xcom
from empirical_provider.airflow.hooks import EmpiricalHook
from empirical_provider.airflow.provider_info import CONNECTION_FIELDS, get_provider_info
from empirical_provider.airflow.triggers import EmpiricalTestRunTrigger
from tests.airflow.conftest import airflow


def test_the_info_is_what_this_airflow_wants() -> None:
    """The provider's info fits the schema that the installed Airflow ships."""
    folder = Path(airflow_package.__path__[0])
    schema = json.loads((folder / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_everything_that_the_info_names_is_there() -> None:
    """Each module and class named in the info can be imported."""
    info = get_provider_info()
    assert info["package-name"] == distribution("empirical-provider").metadata["name"]
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                importlib.import_module(module)
    classes = [each["hook-class-name"] for each in info["connection-types"]] + info["extra-links"]
    for path in classes:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)


def test_what_airflow_stores_is_told_to_be_public_for_ever() -> None:
    """Each name that ends up in Airflow's database stands in docs/versioning.md."""
    page = (Path(__file__).parents[2] / "docs" / "versioning.md").read_text("utf-8")
    trigger = EmpiricalTestRunTrigger(
        test_run_id=1, empirical_conn_id="e", started_at=0.0, deadline=1.0
    )
    keys = (xcom.TEST_RUN_ID, xcom.TEST_RUN_URL, xcom.TEST_RUN, xcom.VERDICT, xcom.LINK)
    for name in (trigger.serialize()[0], *keys, *CONNECTION_FIELDS, durable._NAME):
        assert f"`{name}`" in page
    assert f"`{remembering._PREFIX}__" in page


@pytest.mark.seconds
@pytest.mark.usefixtures("database")
def test_airflow_lists_the_provider_and_reads_its_connection(api_key: str) -> None:
    """`airflow providers list` shows us, and `airflow connections get` knows our type."""
    assert "empirical-provider" in airflow("providers", "list", "-o", "plain")
    assert "empirical_provider.airflow.hooks.EmpiricalHook" in airflow("providers", "hooks")
    connection = json.dumps({"conn_type": "empirical", "password": api_key})
    told = airflow(
        "connections", "get", "release_tests", "-o", "json", AIRFLOW_CONN_RELEASE_TESTS=connection
    )
    shown = json.loads(told[told.index('[{"') : told.rindex("}]") + 2])
    assert (shown[0]["conn_id"], shown[0]["conn_type"]) == ("release_tests", "empirical")


def test_the_form_has_our_fields_and_labels() -> None:
    """On the installed Airflow the form shows our labels and fields, and hides foreign ones."""
    manager = ProvidersManager()
    behaviour = manager.field_behaviours["empirical"]
    assert behaviour["relabeling"] == {"password": "API key", "host": "Base URL"}
    assert set(behaviour["hidden_fields"]) == {"login", "schema", "port", "extra"}
    prefix = "extra__empirical__"
    fields = {
        name.removeprefix(prefix)
        for name in manager.connection_form_widgets
        if name.startswith(prefix)
    }
    assert fields == set(CONNECTION_FIELDS)


def test_the_hooks_own_form_agrees_with_the_info() -> None:
    """The form for older Airflows is made of the same fields and labels."""
    widgets = EmpiricalHook.get_connection_form_widgets()
    assert set(widgets) == set(CONNECTION_FIELDS)
    behaviour = EmpiricalHook.get_ui_field_behaviour()
    assert set(behaviour) == {"hidden_fields", "relabeling", "placeholders"}


@pytest.mark.seconds
@pytest.mark.parametrize("module", ["operators", "sensors", "branching"])
def test_parsing_a_dag_loads_no_client(module: str) -> None:
    """The modules that every process imports that parses a DAG load no client and no trigger."""
    code = (
        f"import sys; import empirical_provider.airflow.{module};"
        "print(sorted(m for m in sys.modules if m.startswith('empirical_provider')))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.strip().splitlines()[-1]
    for heavy in (
        "client",
        "trigger",
        "idempotency",
        "outcomes",
        "airflow.triggers",
        "airflow.hooks",
    ):
        assert f"empirical_provider.{heavy}'" not in loaded
