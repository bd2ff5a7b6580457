"""Release a small site, start its end-to-end tests on Empirical, and record which run tests it.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.states import Completed

from empirical_provider.prefect import EmpiricalCredentials, trigger_test_run


@task
def build_site(version: str, site_dir: str | None) -> dict[str, str]:
    """Build the site and say where it is and what it is made of."""
    site = Path(site_dir or tempfile.mkdtemp(prefix="site-"))
    site.mkdir(parents=True, exist_ok=True)
    (site / "index.html").write_text(
        f'<!doctype html><title>Shop</title><link rel="stylesheet" href="shop.css">'
        f"<h1>Shop {version}</h1>\n"
    )
    (site / "shop.css").write_text("h1 { color: darkgreen }\n")
    # A real pipeline takes the commit from git; this one names the bytes that it built.
    built = b"".join((site / name).read_bytes() for name in ("index.html", "shop.css"))
    return {
        "path": str(site),
        "url": f"https://staging.example.com/{version}/",
        "version": version,
        "commit": hashlib.sha1(built, usedforsecurity=False).hexdigest(),
    }


@task
def record(build: dict[str, str], run: dict[str, Any]) -> str:
    """Write next to the site which test run belongs to it."""
    notes = Path(build["path"]) / "release.json"
    noted = {**build, "test_run_id": run["id"], "test_run_url": run["url"]}
    notes.write_text(json.dumps(noted, indent=2) + "\n")
    return str(notes)


# With persisted results the id is in the final state's data too, and a retry of the flow takes over
# what its tasks have done: the site is not built twice. The tasks must return what JSON can hold.
@flow(name="release-then-test", persist_result=True, result_serializer="json")
def release_then_test(
    credentials: str = "prod",
    environment: str = "staging",
    version: str = "1.0.0",
    site_dir: str | None = None,
) -> State[dict[str, Any]]:
    """Build, start the tests, record; the final state names the test run.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to test.
        version: Version to release.
        site_dir: Folder to build in; default: a new temporary one.
    """
    build = build_site(version, site_dir)
    run = trigger_test_run(
        credentials=EmpiricalCredentials.load(credentials),
        environment=environment,
        build={name: build[name] for name in ("url", "version", "commit")},
        metadata={"release": version},
    )
    notes = record(build, run)
    return Completed(
        message=f"Empirical test run {run['id']} {run['state']}: {run['url']}",
        data={"test_run": run, "build": build, "notes": notes},
    )


if __name__ == "__main__":
    print(release_then_test(return_state=True).message)
