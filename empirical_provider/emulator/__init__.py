"""A local Empirical, to test DAGs and flows against; see README.md next to this file."""

from .behaviour import Behaviour
from .journal import RecordedRequest
from .server import Emulator
from .views import RunSnapshot

__all__ = ["Behaviour", "Emulator", "RecordedRequest", "RunSnapshot"]
