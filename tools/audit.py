"""Known vulnerabilities of the locked packages, by pip-audit: fails where there is one.

Not every registry tells of vulnerabilities, and not every network has one that does: that is said,
and is no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PIP_AUDIT = "pip-audit==2.10.1"


def main(uv: str, *files: str) -> int:
    """Audit some files of locked requirements; return the exit code."""
    return max([audit(uv, Path(file)) for file in files])


def audit(uv: str, file: Path) -> int:
    """Audit one file; return the exit code."""
    options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(
        [uv, "tool", "run", "--quiet", PIP_AUDIT, *options, "--requirement", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        told = done.stderr.strip().splitlines() or ["it says nothing"]
        print(f"{file}: NOT audited, as pip-audit got no answer: {told[-1]}")
        return 0
    known = [each for each in packages if "vulns" in each]
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
