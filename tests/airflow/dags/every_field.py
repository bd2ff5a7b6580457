"""Every field of a request, templated and nested; a secret override; a task mapped over places."""

from __future__ import annotations

from datetime import UTC, datetime

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from empirical_provider.airflow.operators import EmpiricalTriggerTestRunOperator

with DAG(
    dag_id="every_field",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    params={"who": "alice", "shards": 3, "place": "production"},
) as dag:

    @task
    def release() -> dict[str, str]:
        return {"url": "https://staging.example.com/1", "commit": "c0ffee0"}

    EmpiricalTriggerTestRunOperator(
        task_id="everything",
        environment="{{ params.place }}",
        build={
            "url": "{{ ti.xcom_pull('release')['url'] }}",
            "commit": "{{ ti.xcom_pull('release')['commit'] }}",
        },
        metadata={"by": "{{ params.who }}", "task_id": "mine"},
        environment_variables_overrides={"TOKEN": "{{ var.value.plain_name }}", "PIN": "{{ 42 }}"},
        tags=["@{{ params.who }}"],
        test_case_ids=["{{ params.who }}-1"],
        total_shards="{{ params.shards }}",
        send_notifications="{{ params.shards > 3 }}",
        github_actor="{{ params.who }}",
        concurrency={"group": "release-{{ params.who }}", "on_conflict": "wait"},
        empirical_conn_id="{{ 'empirical_default' }}",
    ).set_upstream(release())

    EmpiricalTriggerTestRunOperator.partial(
        task_id="mapped",
        branch="main",
        add_context_metadata=False,
        environment_variables_overrides=[{"name": "TOKEN", "value": "{{ var.value.plain_name }}"}],
    ).expand(environment=["production", "staging"])
