"""The local Empirical as an object: what a test holds in its hands."""

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from .behaviour import Behaviour, Changes
from .bodies import integer
from .control import Control
from .journal import RecordedRequest
from .serving import HOST, Serving
from .settings import Settings
from .state import State
from .views import RunSnapshot

__all__ = ["Emulator"]

_HIGHEST_PORT = 65_535


class Emulator:
    """A local Empirical on 127.0.0.1.

    ```python
    from empirical_provider.emulator import Emulator

    with Emulator() as empirical:
        empirical.script("staging", "failed", total=10, failed=2)
        print(empirical.url)  # what a connection, a block or a client is pointed at
    ```

    Args:
        port: Port to listen on; 0 takes a free one.
        api_keys: Keys that are accepted; None accepts every key.
        environments: Slugs, or a mapping from slug to outcome; None means production and staging.
        project_slug: The project's name in addresses.
        project_id: The project's id.
        advance: "reads" moves a run one step with each read, "time" after ``state_seconds`` each.
        state_seconds: Seconds that a run stays in each state, when time moves it.
        clock: Returns seconds since the epoch; for tests that take no time.
        **behaviour: Switches to start with, by the names of `Behaviour`.

    Raises:
        ValueError: An argument is wrong; the message names it.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        api_keys: Iterable[str] | None = None,
        environments: Mapping[str, str] | Iterable[str] | None = None,
        project_slug: str = "acme",
        project_id: int = 7,
        advance: str = "reads",
        state_seconds: float = 2.0,
        clock: Callable[[], float] = time.time,
        **behaviour: Unpack[Changes],
    ) -> None:
        integer(0, _HIGHEST_PORT)("port", port)
        settings = Settings(
            api_keys=Settings.keys_from(api_keys),
            outcomes=Settings.outcomes_from(environments),
            project_slug=project_slug,
            project_id=project_id,
            advance=advance,
            state_seconds=state_seconds,
        )
        self._port = port
        self._control = Control(State(settings, Behaviour().but(behaviour), clock))
        self._serving: Serving | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; ready when this returns.

        Raises:
            OSError: The port is taken.
            RuntimeError: It is running already, or the server does not come up.
        """
        if self._serving is not None:
            raise RuntimeError("the emulator is running already")
        self._serving = Serving(self._control, self._port)

    def stop(self) -> None:
        """Cut all connections and end the server; without effect when it is not running.

        Raises:
            RuntimeError: The server does not end.
        """
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.end()

    @property
    def url(self) -> str:
        """Address of the running emulator, without a slash at the end."""
        if self._serving is None:
            raise RuntimeError("the emulator is not running; use it in a with statement")
        return f"http://{HOST}:{self._serving.port}"

    @property
    def runs(self) -> list[RunSnapshot]:
        """Snapshots of all runs, newest last; looking does not move them."""
        return self._control.runs()

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far, oldest first; those to the control plane are not recorded."""
        return self._control.journal.all()

    @property
    def connections(self) -> int:
        """TCP connections accepted so far."""
        return self._control.connections.accepted

    def script(
        self,
        environment: str,
        outcome: str,
        *,
        total: int | None = None,
        failed: int | None = None,
        flaky: int | None = None,
        skipped: int | None = None,
        snoozed: int | None = None,
        missing: int | None = None,
        interrupted: int | None = None,
        status: int | None = None,
        error_code: str | None = None,
        commit: str | None = None,
        runs: int | None = None,
    ) -> None:
        """Set how later runs of an environment end.

        Args:
            environment: Slug.
            outcome: passed, failed, snoozed, flaky, incomplete, error, cancelled, superseded,
                no_tests, rejected, stuck or pending.
            total: Tests executed; skipped ones come on top.
            failed: Failed tests, snoozed ones included.
            flaky: Tests that passed on a retry.
            skipped: Tests not executed.
            snoozed: Failed tests whose failure is snoozed.
            missing: Tests of the total that have no result and are not listed, with incomplete (1,
                if nothing is said) and failed.
            interrupted: Tests of the total that are listed as interrupted, with the same.
            status: HTTP status of the answer, with rejected: 200, or 400 and above.
            error_code: Cause, with error and rejected.
            commit: Commit that the runs are shown with, in place of their build's.
            runs: Only the next so many runs; None means from now on.

        Raises:
            ValueError: Something is unknown or contradicts the outcome; the message says what.
        """
        options = {
            "total": total,
            "failed": failed,
            "flaky": flaky,
            "skipped": skipped,
            "snoozed": snoozed,
            "missing": missing,
            "interrupted": interrupted,
            "status": status,
            "error_code": error_code,
            "commit": commit,
            "runs": runs,
        }
        self._control.script({"environment": environment, "outcome": outcome, **options})

    @property
    def behaviour(self) -> Behaviour:
        """The switches as they are now."""
        return self._control.state.behaviour

    def behave(self, **changes: Unpack[Changes]) -> Behaviour:
        """Set how the service behaves from now on; what is not named stays, until `reset`.

        Args:
            **changes: Switches, by the names of `Behaviour`, which tells what each one means.

        Returns:
            All switches as they are now.

        Raises:
            ValueError: A switch or its value is unknown; the message names it.
        """
        return self._control.behave(changes)

    def fault(
        self,
        endpoint: str,
        effect: str,
        *,
        when: str = "before",
        status: int | None = None,
        retry_after: str | None = None,
        delay: float = 0.0,
        message: str | None = None,
        times: int | None = 1,
    ) -> None:
        """Let something go wrong.

        Args:
            endpoint: Name of an endpoint, or "*".
            effect: status, delay, drop, reset, malformed, truncated, huge, html or redirect.
            when: "before" or "after" the request is acted on.
            status: Status of the answer, with the effect status.
            retry_after: Retry-After header, verbatim, with the effect status.
            delay: Seconds to let pass first.
            message: Error message of a status, or address of a redirect.
            times: Requests to hit; None hits until cleared.

        Raises:
            ValueError: Something is unknown or does not go together; the message says what.
        """
        options: dict[str, Any] = {
            "when": when,
            "status": status,
            "retry_after": retry_after,
            "delay": delay,
            "message": message,
            "times": times,
        }
        self._control.fault({"endpoint": endpoint, "effect": effect, **options})

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._control.faults.clear()

    def set_state(self, run_id: int, state: str) -> RunSnapshot:
        """Put a run into a state, as somebody else might; it goes on from there.

        Raises:
            LookupError: There is no such run.
            ValueError: There is no such state.
        """
        return self._control.force(run_id, {"state": state})

    def delete_run(self, run_id: int) -> None:
        """Remove a run.

        Raises:
            LookupError: There is no such run.
        """
        self._control.delete(run_id)

    def revoke(self, key: str) -> None:
        """Answer 401 to this key from now on."""
        self._control.key({"key": key, "revoked": True})

    def restore(self, key: str) -> None:
        """Accept a revoked key again."""
        self._control.key({"key": key, "revoked": False})

    def reset(self) -> None:
        """Forget runs, scripts, faults, switches, revoked keys, requests and connections."""
        self._control.reset()
