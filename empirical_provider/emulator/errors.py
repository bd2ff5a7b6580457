"""What the local Empirical can refuse, without knowing how a refusal travels.

```
ValueError
└── FieldError       a value is wrong; names the field
LookupError
└── UnknownRunError  there is no such run
Exception
└── RefusedError     the service says no, with the status it says it with
```
"""

__all__ = ["FieldError", "RefusedError", "UnknownRunError"]


class FieldError(ValueError):
    """A value is wrong.

    Attributes:
        field: Dotted name of the field, empty for the body as a whole.
    """

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(f"{field}: {problem}" if field else problem)


class UnknownRunError(LookupError):
    """There is no run with this id."""

    def __init__(self, run_id: object) -> None:
        super().__init__(f"Test run {run_id} not found")


class RefusedError(Exception):
    """The service understands the request and does not do it.

    Attributes:
        status: HTTP status of the refusal.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)
