"""Known vulnerabilities of the locked packages, by pip-audit: fails where there is one.

It fails as well where pip-audit got no answer: what could not be asked about is not known to be
safe. Not every registry tells of vulnerabilities, and not every network has one that does: there
``--allow-unanswered`` says that this is known.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

PIP_AUDIT = "pip-audit==2.10.1"


def main(*arguments: str) -> int:
    """Audit some files of locked requirements; return the exit code."""
    parser = argparse.ArgumentParser(description="Known vulnerabilities of what is locked.")
    parser.add_argument("--allow-unanswered", action="store_true", help="no answer is no failure")
    parser.add_argument("--pip-audit", help="the pip-audit to run; default: uv fetches one")
    parser.add_argument("uv", help="path of uv")
    parser.add_argument("files", nargs="+", type=Path, help="files of locked requirements")
    given = parser.parse_args(arguments)
    command = [given.pip_audit] if given.pip_audit else [given.uv, "tool", "run", "-q", PIP_AUDIT]
    return max([audit(command, file, given.allow_unanswered) for file in given.files])


def audit(command: list[str], file: Path, allow_unanswered: bool) -> int:
    """Audit one file; return the exit code."""
    options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(
        [*command, *options, "--requirement", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
        known = [each for each in packages if "vulns" in each]
    except (ValueError, KeyError, TypeError):
        packages, known = [], []
    if not known:
        told = done.stderr.strip().splitlines() or ["it says nothing"]
        print(f"{file}: NOT audited, as pip-audit got no answer: {told[-1]}")
        if not allow_unanswered:
            print("That fails. Where it is known that nothing answers: --allow-unanswered")
        return int(not allow_unanswered)
    for package in known:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no release yet"
            name = f"{package['name']} {package['version']}"
            print(f"{file}: {name}: {found['id']}, mended in {fixed}")
    left = len(packages) - len(known)
    print(f"{file}: {len(known)} packages audited, {left} of which the registry tells nothing.")
    return int(any(package["vulns"] for package in known))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
