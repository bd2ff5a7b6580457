"""What Airflow reads about this provider: the entry point ``apache_airflow_provider``."""

from __future__ import annotations

from typing import Any

import empirical_provider

__all__ = ["CONNECTION_FIELDS", "UI_FIELD_BEHAVIOUR", "get_provider_info"]

_DOCS = "https://docs.empirical.run"

CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "project_id": {
        "label": "Project id",
        "description": "Needed only when the API key is not bound to one project.",
        "schema": {"type": ["integer", "null"], "minimum": 1},
    },
    "project_slug": {
        "label": "Project slug",
        "description": "As in the dashboard's URLs; looked up when left empty.",
        "schema": {"type": ["string", "null"]},
    },
    "dashboard_url": {
        "label": "Dashboard URL",
        "description": "Where test runs are shown; derived from the base URL when left empty.",
        "schema": {"type": ["string", "null"], "format": "uri"},
    },
    "environment": {
        "label": "Default environment",
        "description": "Slug of the environment for tasks that name none.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Request timeout (s)",
        "description": "Seconds one request may take; default: 60 to start a run, 15 otherwise.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
    },
    "ca_bundle": {
        "label": "CA bundle",
        "description": "Path of a PEM file with the authorities to trust instead of public ones.",
        "schema": {"type": ["string", "null"]},
    },
}
"""The connection's extras. No others are accepted; the hook's form for older Airflows is made of
these, too."""

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["login", "schema", "port", "extra"],
    "relabeling": {"password": "API key", "host": "Base URL"},
    "placeholders": {
        "host": "https://dash.empirical.run",
        "password": "made in the dashboard: Settings, API keys",
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "empirical-provider",
        "name": "Empirical",
        "description": f"`Empirical <{_DOCS}>`__: gate a release on end-to-end tests.",
        "versions": [empirical_provider.__version__],
        "integrations": [
            {"integration-name": "Empirical", "external-doc-url": _DOCS, "tags": ["service"]}
        ],
        "hooks": [
            {
                "integration-name": "Empirical",
                "python-modules": ["empirical_provider.airflow.hooks"],
            }
        ],
        "operators": [
            {
                "integration-name": "Empirical",
                "python-modules": [
                    "empirical_provider.airflow.branching",
                    "empirical_provider.airflow.operators",
                    "empirical_provider.airflow.preflight",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": "Empirical",
                "python-modules": ["empirical_provider.airflow.sensors"],
            }
        ],
        "triggers": [
            {
                "integration-name": "Empirical",
                "python-modules": ["empirical_provider.airflow.triggers"],
            }
        ],
        "connection-types": [
            {
                "connection-type": "empirical",
                "hook-class-name": "empirical_provider.airflow.hooks.EmpiricalHook",
                "hook-name": "Empirical",
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONNECTION_FIELDS,
            }
        ],
        "extra-links": ["empirical_provider.airflow.links.EmpiricalTestRunLink"],
    }
