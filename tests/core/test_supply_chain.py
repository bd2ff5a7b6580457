"""What is fetched to build and check this package is what was looked at; the audit is honest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = sorted((ROOT / "requirements").rglob("*.txt"))

pytestmark = pytest.mark.skipif(not (ROOT / "tools").exists(), reason="only in the repository")


def test_actions_are_named_by_commit() -> None:
    """A tag can be moved to other code; a commit cannot. The version stands beside it."""
    workflows = list((ROOT / ".github" / "workflows").glob("*.y*ml"))
    used = [line for each in workflows for line in each.read_text().splitlines() if "uses:" in line]
    assert used
    for line in used:
        assert re.fullmatch(r"\s*-? ?uses: [\w./-]+@[0-9a-f]{40}  # v\d+(\.\d+)*", line), line


@pytest.mark.parametrize("file", LOCKED, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_locked_has_hashes(file: Path) -> None:
    """Each requirement, those of single tools included, has a version and hashes of its files."""
    requirements = re.split(r"(?<!\\)\n", re.sub(r"(?m)^\s*#.*\n", "", file.read_text()))
    some = [each for each in requirements if each.strip()]
    assert some
    for each in some:
        assert re.match(r"[A-Za-z0-9._-]+(\[[^]]+\])?==\S+", each), each
        assert "--hash=sha256:" in each, each


def test_each_tool_is_locked() -> None:
    """The tools that the Makefile and the audit fetch have a file of their own."""
    tools = {each.stem for each in LOCKED if each.parent.name == "tools"}
    makefile = (ROOT / "Makefile").read_text()
    for name, version in re.findall(r"([a-z-]+)@([0-9][0-9.]*)/bin", makefile):
        assert name in tools
        locked = (ROOT / "requirements" / "tools" / f"{name}.txt").read_text()
        assert f"{name}=={version} " in locked
    assert {"uv", "pip-audit"} <= tools


ANSWERS = {
    "nothing": "",
    "no JSON": "<html>",
    "other JSON": "[]",
    "no packages": json.dumps({"dependencies": []}),
    "only skipped": json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found"}]}),
}
CLEAN = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {"name": "b", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}


def audited(answer: str, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Audit a file by a pip-audit that says just this."""
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nprint({answer!r})\nraise SystemExit(1)\n")
    program.chmod(0o755)
    locked = tmp_path / "core.txt"
    locked.write_text("a==1\n")
    return subprocess.run(
        [
            sys.executable,
            str(ROOT / "tools" / "audit.py"),
            *options,
            f"--pip-audit={program}",
            "uv",
            str(locked),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_audit_without_an_answer_fails(answer: str, tmp_path: Path) -> None:
    """What could not be asked about is not known to be safe, unless somebody says so."""
    done = audited(answer, tmp_path)
    assert done.returncode == 1
    assert "NOT audited" in done.stdout
    assert "--allow-unanswered" in done.stdout
    allowed = audited(answer, tmp_path, "--allow-unanswered")
    assert (allowed.returncode, "NOT audited" in allowed.stdout) == (0, True)


@pytest.mark.parametrize("options", [(), ("--allow-unanswered",)])
def test_a_vulnerability_fails(options: tuple[str, ...], tmp_path: Path) -> None:
    """One that is known fails in any case, and is named; where none is, all is well."""
    found = audited(json.dumps({"dependencies": [CLEAN, VULNERABLE]}), tmp_path, *options)
    assert found.returncode == 1
    assert "b 1: CVE-1, mended in 2" in found.stdout
    assert audited(json.dumps({"dependencies": [CLEAN]}), tmp_path, *options).returncode == 0
