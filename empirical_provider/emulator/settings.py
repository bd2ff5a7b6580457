"""What one local Empirical is set up with, checked once."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .bodies import integer, number, text
from .errors import FieldError
from .outcomes import OUTCOMES

__all__ = ["ADVANCES", "DEFAULT_ENVIRONMENTS", "Environment", "Settings"]

ADVANCES = ("time", "reads")
DEFAULT_ENVIRONMENTS: Mapping[str, str] = {"production": "passed", "staging": "passed"}
_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Environment:
    """One environment of the project."""

    id: int
    slug: str
    name: str


@dataclass(frozen=True)
class Settings:
    """The set-up.

    Attributes:
        api_keys: Keys that are accepted; None accepts every key.
        outcomes: Environment slug to how its runs end until a script says otherwise.
        project_slug: The project's name in addresses.
        project_id: The project's id.
        advance: Whether runs move with time or with reads.
        state_seconds: Seconds that a run stays in each state, when time moves it.
    """

    api_keys: frozenset[str] | None = None
    outcomes: Mapping[str, str] = field(default_factory=lambda: DEFAULT_ENVIRONMENTS)
    project_slug: str = "acme"
    project_id: int = 7
    advance: str = "reads"
    state_seconds: float = 2.0

    def __post_init__(self) -> None:
        text(among=ADVANCES)("advance", self.advance)
        number(86_400)("state_seconds", self.state_seconds)
        integer(1)("project_id", self.project_id)
        _check_slug("project_slug", self.project_slug)
        if self.project_slug == "api":
            raise FieldError("project_slug", "api is taken by the API's own paths")
        if not self.outcomes:
            raise FieldError("environments", "at least one is needed")
        for slug, outcome in self.outcomes.items():
            _check_slug("environments", slug)
            text(among=tuple(OUTCOMES))(f"environments.{slug}", outcome)
        for key in self.api_keys or ():
            text()("api_keys", key)

    @staticmethod
    def keys_from(keys: Iterable[str] | None) -> frozenset[str] | None:
        """Read the keys; None stays None, and one bare string is a mistake."""
        if isinstance(keys, str):
            raise FieldError("api_keys", "must be a list of keys, not a string")
        return None if keys is None else frozenset(keys)

    @staticmethod
    def outcomes_from(environments: Mapping[str, str] | Iterable[str] | None) -> Mapping[str, str]:
        """Read environments given as a mapping, as bare slugs, or not at all."""
        if environments is None:
            return DEFAULT_ENVIRONMENTS
        if isinstance(environments, Mapping):
            return dict(environments)
        if isinstance(environments, str):
            raise FieldError("environments", "must be a list of slugs or a mapping, not a string")
        return dict.fromkeys(environments, "passed")

    @property
    def environments(self) -> dict[str, Environment]:
        """The environments by slug; ids follow their order."""
        return {
            slug: Environment(number, slug, slug.replace("-", " ").capitalize())
            for number, slug in enumerate(self.outcomes, start=1)
        }

    @property
    def project(self) -> dict[str, object]:
        """The project as the API shows it."""
        return {
            "id": self.project_id,
            "name": self.project_slug.replace("-", " ").capitalize(),
            "slug": self.project_slug,
            "repo_name": f"{self.project_slug}-tests",
        }


def _check_slug(name: str, slug: str) -> None:
    text()(name, slug)
    if not _SLUG.fullmatch(slug):
        raise FieldError(name, f"{slug!r} is no slug: lower-case letters, digits, . _ and - only")
