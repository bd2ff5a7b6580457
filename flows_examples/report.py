"""Gate a release, and hand the tests to whoever reads JUnit XML: also, and above all, when red.

Needs a saved block of type Empirical Credentials, by default with the name ``prod``.
"""

from __future__ import annotations

import tempfile

import fsspec
from junitparser import JUnitXml
from prefect import flow, task
from prefect.runtime import flow_run

from empirical_provider import GateClosedError
from empirical_provider.prefect import EmpiricalCredentials, run_tests


@task
def publish(report: str) -> str:
    """Read the report, as any other tool would."""
    with fsspec.open(report) as file:
        suites = JUnitXml.fromstring(file.read())
    return f"{suites.failures} of {suites.tests} failed."


@flow(name="report", log_prints=True)
def release(
    credentials: str = "prod",
    environment: str = "staging",
    reports: str = tempfile.gettempdir(),
    poll_interval: float = 10.0,
) -> str:
    """Test a release, publish the report, and go live only if the tests passed.

    Args:
        credentials: Name of the Empirical Credentials block.
        environment: Slug of the environment to test.
        reports: Where reports are kept: a folder, or a URL such as ``s3://my-bucket``.
        poll_interval: Seconds between two looks at the test run.
    """
    report = f"{reports}/{flow_run.id}.xml"  # each run of the flow has its own
    try:
        verdict = run_tests(
            credentials=EmpiricalCredentials.load(credentials),
            environment=environment,
            poll_interval=poll_interval,
            report_path=report,
        )
    except GateClosedError:
        print(publish(report))
        raise
    return f"Live: {publish(report)} {verdict['summary']}"


if __name__ == "__main__":
    print(release())
