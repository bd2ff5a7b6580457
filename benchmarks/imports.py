"""What an import costs on top of another, in a fresh process: run by `bench.py`.

`python imports.py BASE MODULE` prints milliseconds, modules and bytes of memory as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

import psutil


def main() -> None:
    base, module = sys.argv[1:]
    importlib.import_module(base)
    if base == "airflow.sdk":
        from airflow.sdk import DAG  # noqa: F401  # the lazy module is loaded only now
    process = psutil.Process()
    modules, memory = len(sys.modules), process.memory_info().rss
    began = time.perf_counter()
    importlib.import_module(module)
    took = time.perf_counter() - began
    figures = {
        "ms": 1000 * took,
        "modules": len(sys.modules) - modules,
        "memory": process.memory_info().rss - memory,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
