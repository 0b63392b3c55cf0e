"""The docs name only what is there, and the front page stays short."""

from __future__ import annotations

import argparse
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

from tsplanner.cli import VERBS, Parser, build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("README*.md"),
        ROOT / "CONTRIBUTING.md",
        ROOT / "benchmarks" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
)
MOST_LINES = 120
MOST_WORDS = 1200

LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(
    r"(?<![\w/.-])(?:benchmarks|tsplanner|memory_models)/[\w./-]*\w\.(?:py|jsonl?|md)\b"
)
BENCHMARK_ROW = re.compile(r"`((?:\w+/)+\w+\.py)`")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
CODE = re.compile(r"^```\n.*?^```|`[^`]+`", flags=re.M | re.S)
FOREIGN = re.compile(r"\b(?:pip|git|torchrun|sbatch|nvidia-smi)\b")
FORMER_FLAGS = frozenset({"--pack"})
"""Hidden aliases that still work for one release."""


def text(page: Path) -> str:
    """What a page says."""
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    """A page as a test is called by."""
    return str(page.relative_to(ROOT))


def heading_anchors(page: Path) -> set[str]:
    """Anchors that headings of a page get."""
    headings = re.findall(r"^#+ (.*)$", text(page), flags=re.M)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


@cache
def visible_flags() -> frozenset[str]:
    """Every option that some verb's --help shows."""
    found: set[str] = set()
    for verb in VERBS:
        for parser in (main := build_parser(verb), verb_parser(main, verb)):
            found |= {
                option
                for action in parser._actions
                if action.help != argparse.SUPPRESS
                for option in action.option_strings
            }
    return frozenset(found)


def verb_parser(main: Parser, verb: str) -> Parser:
    """The parser that ``tsplanner VERB`` uses."""
    choices = next(
        action.choices for action in main._actions if isinstance(action, argparse._SubParsersAction)
    )
    parser = choices[verb]
    assert isinstance(parser, Parser)
    return parser


def scripts_named(page: Path) -> str:
    """Source of the scripts that a page names, for flags of their own."""
    paths = {ROOT / path for path in PATH.findall(text(page)) if path.startswith("benchmarks/")}
    paths |= {ROOT / "benchmarks" / path for path in BENCHMARK_ROW.findall(text(page))}
    paths.add(ROOT / "bootstrap.py")
    return "\n".join(text(path) for path in sorted(paths) if path.suffix == ".py" and path.exists())


def flags_named(page: Path) -> set[str]:
    """Flags in the code of a page, those of other programs apart."""
    lines = [line for code in CODE.findall(text(page)) for line in code.splitlines()]
    return {flag for line in lines if not FOREIGN.search(line) for flag in FLAG.findall(line)}


def test_the_front_page_is_short() -> None:
    """A newcomer reads it to the end."""
    front = text(ROOT / "README.md")
    assert len(front.splitlines()) <= MOST_LINES
    assert len(front.split()) <= MOST_WORDS


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """Files exist, and headings that are pointed at stand in them."""
    for link in LINK.findall(text(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in heading_anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    """A module that moves takes its mention with it."""
    assert [path for path in PATH.findall(text(page)) if not (ROOT / path).exists()] == []


def test_the_table_of_benchmarks_names_every_script() -> None:
    """No script is left out, and none is named that is gone."""
    folder = ROOT / "benchmarks"
    page = text(folder / "README.md")
    named = set(BENCHMARK_ROW.findall(page))
    assert [path for path in sorted(named) if not (folder / path).exists()] == []
    commands = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if "__main__" in text(path) and path.parent.name != "calls"
    }
    assert sorted(commands - named) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_flag_that_is_named_exists(page: Path) -> None:
    """Of some verb's --help, or of a script that the page names."""
    known, scripts = visible_flags(), scripts_named(page)
    unknown = {
        flag
        for flag in flags_named(page) - known
        if f'"{flag}"' not in scripts and flag not in FORMER_FLAGS
    }
    assert unknown == set()


def test_what_is_cited_is_the_release() -> None:
    """Version, licence and words of the package, and the day on which the changelog has it."""
    cited = yaml.safe_load(text(ROOT / "CITATION.cff"))
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    assert (cited["title"], cited["abstract"]) == (project["name"], project["description"])
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert f"## [{cited['version']}] - {cited['date-released']}" in text(ROOT / "CHANGELOG.md")
