"""Take the pictures of the documentation from what the browser tests have kept.

Run by ``make screenshots``, after the tests.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = Path(os.environ.get("EMPIRICAL_SCREENSHOTS", ROOT / ".screenshots"))
IMAGES = ROOT / "docs" / "images"

PICTURES = {
    "airflow-red-gate.png": "airflow-red-gate.png",
    "airflow-link-failed.png": "airflow-test-run-button.png",
    "airflow-connection-form.png": "airflow-connection.png",
    "prefect-verdict-v2.png": "prefect-verdict.png",
    "prefect-flow-run-red-v2.png": "prefect-flow-run.png",
}
"""What a test has kept, and the lasting name of it: pages link to that."""

LARGEST = 150_000
"""Bytes of a picture: they are part of every clone."""


def main() -> int:
    """Copy the pictures; return the exit code."""
    missing = [name for name in PICTURES if not (KEPT / name).is_file()]
    if missing:
        sys.exit(f"Not in {KEPT}: {', '.join(missing)}. Run the browser tests first.")
    large = [name for name in PICTURES if (KEPT / name).stat().st_size > LARGEST]
    if large:
        sys.exit(f"Larger than {LARGEST:,} bytes: {', '.join(large)}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for kept, lasting in PICTURES.items():
        shutil.copyfile(KEPT / kept, IMAGES / lasting)
        print(
            f"{(IMAGES / lasting).relative_to(ROOT)}  {(IMAGES / lasting).stat().st_size:,} bytes"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
