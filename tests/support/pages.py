"""A page with every kind of block on it, and a reader that checks how tags are nested."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from tests.support.hand_made import summary, trained
from tsplanner.report.build_page import About, build_page
from tsplanner.report.page import Block, Page
from tsplanner.report.records.run_record import LeftOut, RunSummary

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


def page_of(*runs: RunSummary, left_out: tuple[LeftOut, ...] = ()) -> Page:
    """The page over runs, written at a time that never changes."""
    about = About(
        saves=Path("saves"), when="2026-11-23 04:00 +0000", version="9", left_out=left_out
    )
    return build_page(runs, about)


def blocks_of(page: Page, name: str) -> tuple[Block, ...]:
    """What a section holds."""
    return next(section.blocks for section in page.sections if section.name == name)
