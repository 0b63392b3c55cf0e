"""What the site needs beside docs/: the pages that lie elsewhere, and links that lead to them.

A hook of mkdocs. Documents link each other by where they lie in the repository, so that they work
there; here a link to a page of the site is turned to it, and a link to a file that is no page
becomes its text. `mkdocs build --strict` fails on every other link that leads nowhere.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/data/published/README.md": "published.md",
}
"""Pages of the site by the files of the repository that they are."""
DOCS = "docs/"
FIT_PAGE = "will-it-fit-page.html"
"""The page "Will it fit?", if somebody has built it: build/will-it-fit.html."""
BUILT = ROOT / "build" / "will-it-fit.html"
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", flags=re.M | re.S)
OPEN = f"\n[**Open the page**]({FIT_PAGE})\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages that lie elsewhere, and "Will it fit?" if it was built."""
    for source, page in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=turned(text, source)))
    if BUILT.is_file():
        files.append(File.generated(config, FIT_PAGE, abs_src_path=str(BUILT)))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The decisions in the navigation, one entry each."""
    (inside,) = [each for each in config.nav or [] if "Inside" in each]
    entries: list[Any] = inside["Inside"]
    entries[-1] = {
        "Decisions": [
            f"decisions/{path.name}" for path in sorted((ROOT / DOCS / "decisions").glob("*.md"))
        ]
    }
    return config


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """A page of docs/ with its links turned; the page on "Will it fit?" with the page itself."""
    source = page.file.src_uri
    if source in ELSEWHERE.values():
        return markdown
    if source == "will-it-fit.md" and files.get_file_from_path(FIT_PAGE) is not None:
        head, _, rest = markdown.partition("\n")
        markdown = f"{head}\n{OPEN}{rest}"
    return turned(markdown, DOCS + source)


def turned(markdown: str, source: str) -> str:
    """A document with its links turned to pages of the site, code blocks apart.

    ``source``: where it lies in the repository.
    """
    pieces, place = [], 0
    for block in FENCE.finditer(markdown):
        pieces += [_linked(markdown[place : block.start()], source), block.group()]
        place = block.end()
    return "".join([*pieces, _linked(markdown[place:], source)])


def _linked(text: str, source: str) -> str:
    return LINK.sub(lambda found: _link(found, source), text)


def _link(found: re.Match[str], source: str) -> str:
    """One link as the site has it."""
    target, _, anchor = found["target"].partition("#")
    if not target or "://" in target or target.startswith("mailto:"):
        return found[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    page = ELSEWHERE.get(path) or (path.removeprefix(DOCS) if path.startswith(DOCS) else None)
    if page is None:
        return found["text"]
    here = ELSEWHERE.get(source) or source.removeprefix(DOCS)
    relative = posixpath.relpath(page, posixpath.dirname(here) or ".")
    tail = f"#{anchor}" if anchor else ""
    return f"{found['image']}[{found['text']}]({relative}{tail})"
