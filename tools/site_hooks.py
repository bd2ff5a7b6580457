"""What MkDocs needs beside mkdocs.yml: pages that stand elsewhere here, and links to them.

Pages link to files of the repository, so that they can be read there, too. On the site such a link
leads to the page that the file has become; a link to an example that is a paragraph of its own
becomes the example.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

MOUNTED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting-a-vulnerability.md",
    "benchmarks/results.md": "benchmarks.md",
    "empirical_provider/emulator/README.md": "emulator.md",
}
"""Files that are pages of the site, by the page's name there."""

EXAMPLES = {"dags_examples": "examples-airflow.md", "flows_examples": "examples-prefect.md"}
"""Folders of which each is a page of the site."""

_LINK = re.compile(r"(?P<label>\[[^\]]*\])\((?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")
_LINK_ALONE = re.compile(r"^\[[^\]]*\]\((?P<path>[^)#:\s]+\.py)\)$", re.MULTILINE)


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File  # noqa: PLC0415  # MkDocs is only where a site is built

    pages = {page: (ROOT / source).read_text("utf-8") for source, page in MOUNTED.items()}
    pages |= {page: _examples(ROOT / folder) for folder, page in EXAMPLES.items()}
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Show the examples, and lead links to where their files are on the site."""
    del config, files
    name = page.file.src_uri
    sources = {page: source for source, page in MOUNTED.items()}
    folder = PurePosixPath(sources.get(name, f"docs/{name}")).parent

    def in_repository(path: str) -> str:
        return normpath(str(folder / path))

    def shown(link: re.Match[str]) -> str:
        source = in_repository(link["path"])
        return _code(source) if source.partition("/")[0] in EXAMPLES else link[0]

    def led(link: re.Match[str]) -> str:
        target = _on_site(in_repository(link["path"]))
        return (
            link["label"][1:-1]
            if target is None
            else f"{link['label']}({target}{link['anchor'] or ''})"
        )

    return _outside_code(_LINK, led, _LINK_ALONE.sub(shown, markdown))


def _on_site(source: str) -> str | None:
    """Return where a file of the repository is on the site; None where it is not there."""
    if source in MOUNTED:
        return MOUNTED[source]
    folder, _, rest = source.partition("/")
    if folder == "docs":
        return rest
    if folder in EXAMPLES:
        return EXAMPLES[folder] + (f"#{PurePosixPath(rest).stem}" if rest else "")
    return None


def _outside_code(pattern: re.Pattern[str], change: Any, markdown: str) -> str:
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else pattern.sub(change, part) for part in parts)


def _examples(folder: Path) -> str:
    """Return the page of a folder's examples."""
    parts = [f"# Examples: `{folder.name}`", "Each is run by the tests as it stands."]
    for file in sorted(folder.glob("*.py")):
        about = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        parts += [f"## {file.stem}", about.split("\n\n")[0], _code(f"{folder.name}/{file.name}")]
    return "\n\n".join(parts) + "\n"


def _code(source: str) -> str:
    text = (ROOT / source).read_text("utf-8").rstrip()
    return f'```python title="{source}"\n{text}\n```'
