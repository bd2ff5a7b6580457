"""The main job on both hosts: a release step starts a test run on a local Empirical.

Runs the example DAG in a real Airflow and the example flow on Prefect's own server, each in a
process of its environment and a home of its own, and prints what they left: the run's id as Airflow
keeps it in XCom and as Prefect keeps it in the flow's final state. Nothing is left running.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
KEY = "demo-key"

READ_XCOM = """
import json
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session

with create_session() as session:
    rows = session.query(XComModel).filter_by(dag_id="release_then_test", task_id="e2e")
    print("XCOM", json.dumps({row.key: XComModel.deserialize_value(row) for row in rows}))
"""

RUN_FLOW = """
import json, runpy, sys
from prefect import get_client
from empirical_provider.prefect import EmpiricalCredentials

key, url, site, example = sys.argv[1:]
EmpiricalCredentials(api_key=key, base_url=url).save("prod")
flow = runpy.run_path(example)["release_then_test"]
final = flow(site_dir=site, return_state=True)
with get_client(sync_client=True) as client:
    stored = client.read_flow_run(final.state_details.flow_run_id).state
data = stored.result(raise_on_failure=False)
print("STATE", json.dumps({"name": stored.name, "message": stored.message, "data": data}))
"""


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--airflow-python", type=Path, required=True)
    parser.add_argument("--prefect-python", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="empirical-demo-") as folder:
        home = Path(folder)
        # The interpreters stay as they are named: resolved, they would lose their environment.
        with local_empirical(options.airflow_python.absolute(), home) as url:
            say(f"A local Empirical listens on {url}")
            say("Airflow: dags_examples/release_then_test.py ...")
            xcom = in_airflow(options.airflow_python.absolute(), home, url)
            say(f"  XCom test_run_id   {xcom['test_run_id']}")
            say(f"  XCom test_run_url  {xcom['test_run_url']}")
            say(f"  the page says      {page_title(xcom['test_run_url'])}")
            say("Prefect: flows_examples/release_then_test.py ...")
            state = in_prefect(options.prefect_python.absolute(), home, url)
            run = state["data"]["test_run"]
            say(f"  {state['name']}: {state['message']}")
            say(f"  state data         test run {run['id']}")
            say(f"  the page says      {page_title(run['url'])}")
        say(
            f"Done: test run {xcom['test_run_id']} from Airflow, test run {run['id']} from Prefect."
        )
    return 0


def in_airflow(python: Path, home: Path, url: str) -> dict[str, Any]:
    """Run the DAG in a new Airflow; return the XComs of its task, read back."""
    connection = {"conn_type": "empirical", "password": KEY, "host": url}
    environment = {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags_examples"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_EMPIRICAL_DEFAULT": json.dumps(connection),
    }
    airflow = str(python.with_name("airflow"))
    dag = ROOT / "dags_examples" / "release_then_test.py"
    conf = json.dumps({"site_dir": str(home / "site-airflow")})
    run([airflow, "db", "migrate"], home, environment)
    run([airflow, "dags", "test", "release_then_test", "-f", dag, "-c", conf], home, environment)
    return result("XCOM", run([python, "-c", READ_XCOM], home, environment))


def in_prefect(python: Path, home: Path, url: str) -> dict[str, Any]:
    """Run the flow on a new server; return its final state, read back."""
    environment = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the first start is slow
        "DO_NOT_TRACK": "1",
    }
    flow = ROOT / "flows_examples" / "release_then_test.py"
    arguments = [KEY, url, str(home / "site-prefect"), flow]
    return result("STATE", run([python, "-c", RUN_FLOW, *arguments], home, environment))


def run(command: list[str | Path], home: Path, environment: dict[str, str]) -> str:
    """Run a command to its end and return what it printed; fail with all of it."""
    done = subprocess.run(  # noqa: S603  # the environments' own commands
        command,
        env={**os.environ, **environment, "NO_PROXY": "127.0.0.1,localhost"},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n{command[0]} ended with exit code {done.returncode}.")
    return done.stdout


def result(word: str, output: str) -> dict[str, Any]:
    """Find the line of JSON that a process printed for us."""
    found = re.search(rf"^{word} (.*)$", output, re.MULTILINE)
    if not found:
        sys.exit(f"{output}\nThe line {word} is missing from the output above.")
    data: dict[str, Any] = json.loads(found[1])
    return data


@contextmanager
def local_empirical(python: Path, home: Path) -> Iterator[str]:
    """Start the local Empirical on a free port; yield its URL; end it."""
    command = [python, "-m", "empirical_provider.emulator", "--port", "0", "--api-key", KEY]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            line = server.stdout.readline() if server.stdout else ""
            found = re.search(r"http://\S+", line)
            if not found:
                sys.exit(f"The local Empirical did not start: {line}")
            yield found[0]
        finally:
            server.terminate()


def page_title(url: str) -> str:
    """Open a run's page the way a person would, and return its title."""
    with urllib.request.urlopen(url, timeout=10) as page:  # noqa: S310  # a URL of the local Empirical
        found = re.search(r"<title>(.*?)</title>", page.read().decode(), re.DOTALL)
    return found[1].strip() if found else "(no title)"


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
