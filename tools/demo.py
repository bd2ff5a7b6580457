"""The gate on both hosts: a release step starts a test run on a local Empirical and goes by it.

Runs example DAGs in a real Airflow and example flows on Prefect's own server, each in a process of
its environment and a home of its own, and prints what they left: the run's id and the verdict as
Airflow keeps them in XCom and as Prefect keeps them in the flow's final state. The environment
"staging" of the local Empirical is green, "production" is red. Nothing is left running.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
KEY = "demo-key"

READ_XCOM = """
import json, sys
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session

with create_session() as session:
    for dag_id, task_id in zip(sys.argv[1::2], sys.argv[2::2]):
        rows = session.query(XComModel).filter_by(dag_id=dag_id, task_id=task_id)
        xcoms = {row.key: XComModel.deserialize_value(row) for row in rows}
        print("XCOM", dag_id, json.dumps(xcoms))
"""

RUN_FLOWS = """
import json, runpy, sys
from pathlib import Path
from prefect import get_client
from empirical_provider.prefect import EmpiricalCredentials

key, url, site, examples = sys.argv[1:]
EmpiricalCredentials(api_key=key, base_url=url).save("prod")
release = runpy.run_path(str(Path(examples, "release_then_test.py")))["release_then_test"]
gate = runpy.run_path(str(Path(examples, "gate.py")))["gate"]

def stored(final):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(final.state_details.flow_run_id).state

released = stored(release(site_dir=site, return_state=True))
run = released.result()["test_run"]
print("RELEASE", json.dumps({"name": released.name, "message": released.message, "run": run}))
for environment in ("staging", "production"):
    final = gate(environment=environment, poll_interval=1, return_state=True)
    told = stored(final).message or final.result()
    print("GATE", environment, json.dumps({"name": stored(final).name, "message": told}))
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
        with (
            local_empirical(options.airflow_python.absolute(), home) as url,
            ThreadPoolExecutor() as pool,
        ):
            say(f"The emulator listens on {url}")
            # At the same time: each mostly waits for its own processes to start.
            prefect = pool.submit(list, in_prefect(options.prefect_python.absolute(), home, url))
            for line in in_airflow(options.airflow_python.absolute(), home, url):
                say(line)
            say("Prefect: flows_examples/release_then_test.py and gate.py ...")
            for line in prefect.result():
                say(line)
    say("Done.")
    return 0


def in_airflow(python: Path, home: Path, url: str) -> Iterator[str]:
    """Run the DAGs in a new Airflow; yield what is read back from their XComs, line by line."""
    connection = {"conn_type": "empirical", "password": KEY, "host": url}
    environment = {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags_examples"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_EMPIRICAL_DEFAULT": json.dumps(connection),
    }
    airflow = str(python.with_name("airflow"))
    conf = {"release_then_test": {"site_dir": str(home / "site-airflow")}}
    tasks = {"release_then_test": "e2e", "gate_deferrable": "gate", "promote_or_roll_back": "gate"}
    run([airflow, "db", "migrate"], home, environment)
    for dag_id in tasks:
        yield f"Airflow: dags_examples/{dag_id}.py ..."
        file = ROOT / "dags_examples" / f"{dag_id}.py"
        given = ["-c", json.dumps(conf[dag_id])] if dag_id in conf else []
        run([airflow, "dags", "test", dag_id, "-f", file, *given], home, environment)
    output = run([python, "-c", READ_XCOM, *sum(tasks.items(), ())], home, environment)
    xcom = json.loads(line_of("XCOM release_then_test", output))
    yield f"  XCom test_run_id   {xcom['test_run_id']}"
    yield f"  XCom test_run_url  {xcom['test_run_url']}"
    yield f"  the page says      {page_title(xcom['test_run_url'])}"
    for dag_id in ("gate_deferrable", "promote_or_roll_back"):
        verdict = json.loads(line_of(f"XCOM {dag_id}", output))["verdict"]
        yield f"  XCom verdict       {verdict['outcome']}: {verdict['summary']}"
        yield from (f"    - {name}" for name in verdict["failed_tests"])


def in_prefect(python: Path, home: Path, url: str) -> Iterator[str]:
    """Run the flows on a new server; yield what is read back from their final states."""
    environment = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",  # the first start is slow
        "DO_NOT_TRACK": "1",
    }
    arguments = [KEY, url, str(home / "site-prefect"), ROOT / "flows_examples"]
    output = run([python, "-c", RUN_FLOWS, *arguments], home, environment)
    release = json.loads(line_of("RELEASE", output))
    yield f"  {release['name']}: {release['message']}"
    yield f"  state data         test run {release['run']['id']}"
    yield f"  the page says      {page_title(release['run']['url'])}"
    for environment_slug in ("staging", "production"):
        final = json.loads(line_of(f"GATE {environment_slug}", output))
        yield f"  {final['name']}: {final['message']}"


def run(command: list[str | Path], home: Path, environment: dict[str, str]) -> str:
    """Run a command to its end and return what it printed; fail with all of it."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment, "NO_PROXY": "127.0.0.1,localhost"},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n{command[0]} ended with exit code {done.returncode}.")
    return done.stdout


def line_of(word: str, output: str) -> str:
    """Find the line that a process printed for us."""
    found = re.search(rf"^{word} (.*)$", output, re.MULTILINE)
    if not found:
        sys.exit(f"{output}\nThe line {word} is missing from the output above.")
    return found[1]


@contextmanager
def local_empirical(python: Path, home: Path) -> Iterator[str]:
    """Start the local Empirical on a free port; yield its URL; end it."""
    command = [python, "-m", "empirical_provider.emulator", "--port", "0", "--api-key", KEY]
    command += ["--environment", "staging", "--environment", "production=failed"]
    command += ["--state-seconds", "0.5"]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, text=True) as server:
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
