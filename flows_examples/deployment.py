"""Serve the ready flow: anything that can start a deployment gets a gate, without a line of code.

Needs a saved block of type Empirical Credentials with the name ``prod``. Then, from a shell::

    prefect deployment run run-empirical-tests/staging-gate --watch

For a worker, the same in ``prefect.yaml``::

    deployments:
      - name: staging-gate
        entrypoint: empirical_provider.prefect.flows.run_empirical_tests
        parameters: {credentials: prod, environment: staging}
        work_pool: {name: local}
"""

from __future__ import annotations

from empirical_provider.prefect import run_empirical_tests

if __name__ == "__main__":
    run_empirical_tests.serve(
        name="staging-gate",
        parameters={"credentials": "prod", "environment": "staging"},
    )
