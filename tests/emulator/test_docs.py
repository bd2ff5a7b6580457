"""The README names all there is, and the emulator stands alone."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import empirical_provider.emulator
from empirical_provider.emulator.api import ENDPOINTS
from empirical_provider.emulator.behaviour import BEHAVIORS, LIMITS, Behaviour, Changes
from empirical_provider.emulator.echo import ECHOES
from empirical_provider.emulator.faults import EFFECTS
from empirical_provider.emulator.outcomes import OUTCOMES

README = Path(empirical_provider.emulator.__file__).with_name("README.md").read_text("utf-8")


def test_the_readme_names_everything_that_can_be_scripted() -> None:
    """No outcome, effect or endpoint is missing from the README."""
    for name in (*OUTCOMES, *EFFECTS, *ENDPOINTS):
        assert f"`{name}`" in README


def test_the_readme_names_every_switch() -> None:
    """No switch, option for it or field that can be echoed is missing from the README."""
    for switch in Changes.__annotations__:
        assert f"| `{switch}` |" in README
        assert f"`--{switch.replace('_', '-')}`" in README
    for name in (*ECHOES, *LIMITS, *BEHAVIORS):
        assert f"`{name}`" in README


def test_every_switch_has_a_place_in_both_forms() -> None:
    """What can be changed is what there is, so that no way to set it lacks a switch."""
    assert set(Changes.__annotations__) == {field.name for field in fields(Behaviour)}


def test_the_emulator_imports_no_other_part() -> None:
    """Importing it brings in neither Airflow nor Prefect nor the rest of this package."""
    code = (
        "import sys, empirical_provider.emulator.__main__\n"
        "print(*(name for name in sys.modules\n"
        "    if name.partition('.')[0] in ('airflow', 'prefect', 'httpx')\n"
        "    or name.startswith('empirical_provider.')\n"
        "    and not name.startswith('empirical_provider.emulator')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout.strip() == ""
