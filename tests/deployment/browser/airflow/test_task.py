"""A person who looks at a task: the way to its test run, why it failed, and no secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.deployment.browser.airflow.conftest import SECRET
from tests.deployment.browser.page import keep, opens_report
from tests.deployment.processes import until

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from empirical_provider.emulator import Emulator
    from tests.deployment.airflow.host import Deployment


def at(page: Page, deployment: Deployment, dag_id: str, task_id: str, tab: str = "") -> None:
    """Go to a tab of a task's page, by default to its log."""
    page.goto(f"{deployment.url}/dags/{dag_id}/runs/only/tasks/{task_id}{tab}")
    expect(page.get_by_role("heading", name=task_id, exact=True)).to_be_visible()


def run_of(deployment: Deployment, dag_id: str, task_id: str, state: str) -> int:
    """Wait until a task is in a state and has started its test run; return the run's id."""
    task = f"/api/v2/dags/{dag_id}/dagRuns/only/taskInstances/{task_id}"

    def look() -> list[int]:
        entries = deployment.api("GET", f"{task}/xcomEntries")["xcom_entries"]
        if "test_run_id" not in {each["key"] for each in entries}:
            return []
        if deployment.states(dag_id, task_id) != [state]:
            return []
        return [int(deployment.api("GET", f"{task}/xcomEntries/test_run_id")["value"])]

    return until(f"{task_id} is {state} and has a test run", look)[0]


@pytest.mark.parametrize(
    ("dag_id", "task_id", "state"),
    [
        ("shop_nightly", "checkout", "running"),
        ("shop_nightly", "search", "deferred"),
        ("shop_release", "e2e_gate", "failed"),
    ],
    ids=["running", "deferred", "failed"],
)
@pytest.mark.scenario("browser: the button to the test run, task {state}")
def test_the_button_opens_the_test_run(
    page: Page, deployment: Deployment, dag_id: str, task_id: str, state: str
) -> None:
    """A task has a button that opens its test run's page: while it waits, and after it failed."""
    run_id = run_of(deployment, dag_id, task_id, state)
    at(page, deployment, dag_id, task_id, "/details")
    expect(page.get_by_role("row", name=re.compile(rf"^State\s+{state}$"))).to_be_visible()

    opens_report(page.get_by_role("link", name="Empirical test run"), run_id)

    assert deployment.states(dag_id, task_id) == [state]
    keep(page, f"airflow-link-{state}")


@pytest.mark.scenario("browser: why a gate is red")
def test_the_log_says_why_the_gate_is_red(page: Page, deployment: Deployment) -> None:
    """The log of a red gate says what failed, and has a link that opens the test run's page."""
    run_id = run_of(deployment, "shop_release", "e2e_gate", "failed")
    at(page, deployment, "shop_release", "e2e_gate")

    log = page.get_by_role("code")
    error = log.get_by_text(
        f"EmpiricalTestsFailedError: Empirical test run {run_id} in staging failed: 2 of 48 failed."
    )
    expect(error.first).to_contain_text("- checkout.spec.ts > ")
    expect(error.first).to_contain_text("- login.spec.ts > ")
    opens_report(log.get_by_role("link", name=f"/acme/test-runs/{run_id}").first, run_id)
    # Fold the traceback, by a click at its left: one in its middle would scroll there.
    error.first.click(position={"x": 20, "y": 8})
    expect(log.get_by_text("waiting.py").first).to_be_hidden()
    keep(page, "airflow-red-gate", part={"x": 334, "y": 64, "width": 934, "height": 512})


@pytest.mark.scenario("browser: values of overrides in rendered templates")
def test_the_values_of_overrides_are_masked(
    page: Page, deployment: Deployment, shop: Emulator
) -> None:
    """The rendered templates of a task name its overrides, and their values are nowhere to see."""
    run_id = run_of(deployment, "shop_release", "e2e_gate", "failed")
    [run] = [each for each in shop.runs if each.id == run_id]
    assert SECRET in str(run.body), "it was rendered, and it was sent"

    at(page, deployment, "shop_release", "e2e_gate", "/rendered_templates")
    row = page.get_by_role("row", name=re.compile("^environment_variables_overrides"))
    expect(row).to_contain_text(re.compile(r'"CHECKOUT_CODE"\s*:\s*"\*\*\*"'))
    keep(page, "airflow-rendered-templates")
    assert SECRET not in page.content()
    assert SECRET not in page.inner_text("body")
