"""HTML and Markdown as files."""

from __future__ import annotations

import re
import xml.dom.minidom
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.hand_made import add_run, summary, trained
from tsplanner.report.build_page import About, build_page
from tsplanner.report.files import Format, Wanted, write_report, write_run_report
from tsplanner.report.messages.translate import Language
from tsplanner.report.page import Page
from tsplanner.report.records.read_runs import read_runs
from tsplanner.report.records.recorded import recorded_runs
from tsplanner.report.records.run_record import Found
from tsplanner.report.render.html import html
from tsplanner.report.render.markdown import markdown_page

VOID = {"meta", "link", "br", "img", "hr"}
SELF_CLOSED = {"line", "rect", "circle", "polyline"}
HOSTILE = '<script>alert("x")</script> & "co" | *b*'


class Nesting(HTMLParser):
    """Fails where tags do not close as they opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One more is open."""
        self.seen.add(tag)
        names = ("src", "href", "xlink:href", "srcset", "action", "data")
        self.addresses += [value or "" for name, value in attrs if name in names]
        if tag not in VOID | SELF_CLOSED:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """The one opened last closes."""
        if tag not in SELF_CLOSED:
            assert self.open, tag
            assert self.open.pop() == tag


def everything(folder: Path) -> Page:
    """A page with every kind of block on it, and names that nobody should give."""
    runs = (
        trained(folder, name=HOSTILE, model=HOSTILE),
        summary("b", device="Card Y", remarks=(HOSTILE,)),
        summary("c", quantization="nf4"),
    )
    return build_page(runs, About(saves=Path(HOSTILE), when="now", version="9"))


@pytest.mark.parametrize("language", Language)
def test_html_is_well_formed_and_needs_nothing_else(tmp_path: Path, language: Language) -> None:
    """Tags close, nothing is fetched, nothing runs, and names stay names."""
    text = html(everything(tmp_path), language, "other.html")
    parser = Nesting()
    parser.feed(text)
    assert parser.open == []
    assert "script" not in parser.seen
    assert "iframe" not in parser.seen
    assert all(found.startswith("#") or found == "other.html" for found in parser.addresses)
    assert "http" not in text.lower()
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#stripes"}
    assert f'<html lang="{language}">' in text
    assert not re.search(r"\b(section|column|fact|part|curve)_[a-z_]+", text)


def test_english_sentences_say_so_on_the_chinese_page(tmp_path: Path) -> None:
    """What a plan or a record says is in English on both."""
    text = html(everything(tmp_path), Language.ZH)
    assert '<li><span lang="en">&lt;script&gt;' in text
    assert '<span lang="en">' not in html(everything(tmp_path), Language.EN)


@pytest.mark.parametrize("language", Language)
def test_markdown_tables_have_as_many_cells_as_headings(tmp_path: Path, language: Language) -> None:
    """Bars and stars in names do not make cells or emphasis."""
    text = markdown_page(everything(tmp_path), language)
    widths = set()
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        rows = [re.split(r"(?<!\\)\|", line) for line in table.splitlines()]
        assert len({len(row) for row in rows}) == 1, table
        widths.add(len(rows[0]) - 2)
    assert 18 in widths
    assert re.search(r"(?<!\\)[<>*]", text.replace("**", "")) is None


def test_both_formats_in_both_languages_link_to_each_other(tmp_path: Path) -> None:
    """Four files; each names the other language's of its own format."""
    saves = tmp_path / "saves"
    add_run(saves, "1")
    output = tmp_path / "handed on"
    paths = write_report(read_runs(saves), saves, Wanted(output=output), when="now")
    assert [path.name for path in paths] == [
        "report.html",
        "report.zh-CN.html",
        "report.md",
        "report.zh-CN.md",
    ]
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    assert 'href="report.zh-CN.html">中文</a>' in texts["report.html"]
    assert 'href="report.html">English</a>' in texts["report.zh-CN.html"]
    assert "[中文](report.zh-CN.md)" in texts["report.md"]
    assert "](../saves/tiny/lora/1/loss.svg)" in texts["report.md"]


def test_one_format_in_one_language_is_one_file(tmp_path: Path) -> None:
    """And no link to a file that is not written, no picture that was not wanted."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    wanted = Wanted(output=saves, formats=(Format.HTML,), languages=(Language.ZH,), pictures=False)
    (path,) = write_report(read_runs(saves), saves, wanted, when="now")
    assert path.name == "report.zh-CN.html"
    assert "report.html" not in path.read_text(encoding="utf-8")
    assert not (folder / "loss.svg").exists()


def test_a_curve_is_a_picture_of_its_own(tmp_path: Path) -> None:
    """loss.svg stands beside the metrics, is well-formed and has its colors with it."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    write_report(read_runs(saves), saves, Wanted(output=saves), when="now")
    text = (folder / "loss.svg").read_text(encoding="utf-8")
    root = xml.dom.minidom.parseString(text).documentElement
    assert root is not None
    assert root.tagName == "svg"
    assert root.getAttribute("xmlns") == "http://www.w3.org/2000/svg"
    assert ".heldout{stroke:var(--heldout)" in text


def test_a_run_folder_gets_its_own_page(tmp_path: Path) -> None:
    """In English, with what a search decided; the HTML needs nothing beside it."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    paths = write_run_report(folder, saves, ["Trial 2 is the best."])
    assert [path.name for path in paths] == ["report.html", "report.md"]
    for path in paths:
        assert "Trial 2 is the best." in path.read_text(encoding="utf-8")
    assert "](loss.svg)" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_run_without_a_record_gets_a_page_that_says_so(tmp_path: Path) -> None:
    """A worker that left nothing behind is no reason to fail."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1")
    (folder / "record.json").write_text("{")
    write_run_report(folder, saves)
    assert "No finished run yet." in (folder / "report.html").read_text(encoding="utf-8")


def test_recorded_runs_are_shown_and_what_does_not_compare_is_refused() -> None:
    """Of six recorded runs, 8B is 1.69 times 14B on one card; no loss compares with another."""
    runs = recorded_runs()
    text = markdown_page(
        build_page(runs, About(saves=Path("saves"), when="now", version="9")), Language.EN
    )
    assert len(runs) == 6
    model = text.partition("## Compared by model size")[2].partition("\n## ")[0]
    assert "| \\#5 chatts-8b\\_rtx-2080-ti\\_qlora-r8 (chatts-8b) | 0.492 | 1.69x | - |" in model
    assert "Held out" not in model
    quantised = text.partition("## Compared by quantisation")[2].partition("\n## ")[0]
    assert "sharding and offload ZeRO-3" in quantised
    assert "steps 42 and 78; effective batch 32 and 16; rows 418 and 414" in quantised
    assert "|" not in quantised
    hardware = text.partition("## Compared by hardware")[2].partition("\n## ")[0]
    assert "|" not in hardware
    assert Found(runs=runs).left_out == ()
