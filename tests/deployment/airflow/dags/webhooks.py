"""The DAGs of the example that is started by a webhook, as they stand."""

from __future__ import annotations

from dags_examples.after_webhook import after, before

__all__ = ["after", "before"]
