"""The documentation as a site: links are turned to its pages, and one that leads nowhere fails."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_docs import ROOT

pytest.importorskip("mkdocs", reason="needs the dependency group docs")


def hook() -> ModuleType:
    """docs/_site/pages.py, which mkdocs loads by its path."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "_site" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = hook()


@pytest.mark.parametrize(
    ("source", "link", "turned"),
    [
        # Between pages nothing changes, and neither do addresses.
        ("docs/faq.md", "[a](tuning.md#the-stages)", "[a](tuning.md#the-stages)"),
        ("docs/faq.md", "[a](https://host/x.md)", "[a](https://host/x.md)"),
        ("docs/faq.md", "[a](#here)", "[a](#here)"),
        # Files that are pages elsewhere in the repository.
        ("docs/faq.md", "[a](../SECURITY.md)", "[a](security.md)"),
        ("README.md", "[a](docs/tuning.md)", "[a](tuning.md)"),
        ("README.md", "![a](docs/images/plan.png)", "![a](images/plan.png)"),
        ("docs/decisions/0001.md", "[a](../tuning.md)", "[a](../tuning.md)"),
        ("docs/decisions/0001.md", "[a](../../CHANGELOG.md#x)", "[a](../changelog.md#x)"),
        # Files that are no pages keep their words.
        ("benchmarks/README.md", "see [the data](data/page.json)", "see the data"),
        # Code is left alone.
        ("README.md", "```\n[a](docs/tuning.md)\n```", "```\n[a](docs/tuning.md)\n```"),
    ],
)
def test_links_lead_to_the_pages_of_the_site(source: str, link: str, turned: str) -> None:
    """From wherever a document lies."""
    assert PAGES.turned(link, source) == turned


def test_every_page_of_docs_is_in_the_navigation() -> None:
    """And every name of it is a page."""
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"))
    named = {
        page
        for group in config.nav or []
        for entries in group.values()
        for entry in entries
        for page in ([entry] if isinstance(entry, str) else entry.values())
    }
    there = {path.name for path in (ROOT / "docs").glob("*.md")} | set(PAGES.ELSEWHERE.values())
    assert named - {"decisions/*"} == there


def build(root: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a copy of the repository."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        check=False,
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_the_site_is_built_and_a_link_that_leads_nowhere_ends_it(tmp_path: Path) -> None:
    """A page, and a heading of a page; nothing is fetched from elsewhere."""
    for name in ("mkdocs.yml", *PAGES.ELSEWHERE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr
    front = (tmp_path / "build" / "site" / "index.html").read_text(encoding="utf-8")
    assert 'src="https://' not in front
    assert 'rel="stylesheet" href="https://' not in front
    for link in ("nowhere.md", "tuning.md#nowhere"):
        (tmp_path / "docs" / "faq.md").write_text(f"# Questions\n\n[a]({link})\n")
        done = build(tmp_path)
        assert done.returncode != 0
        assert "nowhere" in done.stderr
