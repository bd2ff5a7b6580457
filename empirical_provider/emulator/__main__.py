"""`python -m empirical_provider.emulator`: a local Empirical until it is interrupted."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from typing import cast

from .behaviour import BEHAVIORS, LIMITS, SHAPES, Behaviour, Changes
from .echo import ECHOES
from .server import Emulator
from .settings import ADVANCES, DEFAULT_ENVIRONMENTS

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    outcomes = dict(_environment(item) for item in options.environment or ())
    try:
        emulator = Emulator(
            port=options.port,
            api_keys=options.api_key,
            environments=outcomes or None,
            project_slug=options.project_slug,
            project_id=options.project_id,
            advance=options.advance,
            state_seconds=options.state_seconds,
            **_behaviour(options),
        )
    except ValueError as exc:
        parser.error(str(exc))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        emulator.start()
    except OSError as exc:
        parser.exit(2, f"{parser.prog}: error: {exc.strerror}\n")
    try:
        sys.stdout.write(f"The local Empirical listens on {emulator.url}\n")
        sys.stdout.flush()
        while not stop.wait(0.5):  # with a limit, because Windows delivers no signal into a wait
            pass
    finally:
        emulator.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m empirical_provider.emulator",
        description="A local Empirical on 127.0.0.1 for testing DAGs and flows.",
    )
    parser.add_argument(
        "--port", type=int, default=8321, help="port; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--api-key", action="append", metavar="KEY", help="accepted key; none accepts every key"
    )
    parser.add_argument(
        "--environment",
        action="append",
        metavar="SLUG[=OUTCOME]",
        help=f"environment and how its runs end (default: {', '.join(DEFAULT_ENVIRONMENTS)})",
    )
    parser.add_argument("--project-slug", default="acme", help="default: %(default)s")
    parser.add_argument("--project-id", type=int, default=7, help="default: %(default)s")
    parser.add_argument(
        "--advance", choices=ADVANCES, default="time", help="what moves runs (default: %(default)s)"
    )
    parser.add_argument(
        "--state-seconds",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="time spent in each state with --advance time (default: %(default)s)",
    )
    _add_switches(parser)
    return parser


def _add_switches(parser: argparse.ArgumentParser) -> None:
    """Add one option for each switch of `Behaviour`, of the same name."""
    usual = Behaviour()
    for view in ("list", "detail"):
        parser.add_argument(
            f"--echo-in-{view}",
            type=_names,
            metavar="NAMES",
            help=f"fields of the request shown in the {view}, with commas (of {', '.join(ECHOES)})",
        )
    parser.add_argument(
        "--disabled-environments",
        type=_names,
        metavar="SLUGS",
        help="environments that are listed as disabled, with commas (default: none)",
    )
    for name, kind, unit, text in (
        ("--list-lag", float, "SECONDS", "how long new runs are missing from lists"),
        ("--list-lag-reads", int, "N", "list requests from which new runs are missing"),
        ("--clock-skew", float, "SECONDS", "how far the service's clock is ahead"),
    ):
        parser.add_argument(name, type=kind, metavar=unit, help=f"{text} (default: 0)")
    parser.add_argument(
        "--concurrency-limit",
        choices=LIMITS,
        help=f"where only one run goes at a time (default: {usual.concurrency_limit})",
    )
    parser.add_argument(
        "--concurrency-behavior",
        choices=BEHAVIORS,
        help=f"what a new run does there (default: {usual.concurrency_behavior})",
    )
    parser.add_argument(
        "--detail-shape",
        choices=SHAPES,
        help=f"where the detail has the run (default: {usual.detail_shape})",
    )


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _behaviour(options: argparse.Namespace) -> Changes:
    """Collect the switches that were given."""
    given = {name: getattr(options, name) for name in Changes.__annotations__}
    return cast("Changes", {name: value for name, value in given.items() if value is not None})


def _environment(item: str) -> tuple[str, str]:
    slug, _, outcome = item.partition("=")
    return slug, outcome or "passed"


if __name__ == "__main__":
    sys.exit(main())
