"""The command ``empirical-provider``: the gate where no orchestrator runs, such as in a CI job."""
