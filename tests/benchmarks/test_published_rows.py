"""The published measurements: enough of them, readable, and in halves that a hash has set."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from benchmarks.accuracy.published_rows import FOLDER, SEEN_BEFORE, Half, half_of, published
from tsplanner.hardware.describe import parse_gpus
from tsplanner.models.source import ModelSource
from tsplanner.planner.gather.cases import read_case

GIB = 2**30
ROWS = published()


def test_there_are_rows_of_many_cards_and_sources() -> None:
    """Each card is one that the catalogue knows."""
    assert len(ROWS) >= 200
    assert len({row.gpu for row in ROWS}) >= 10
    assert len({row.source for row in ROWS}) >= 20
    for gpu in {row.gpu for row in ROWS}:
        assert len(parse_gpus(gpu)) == 1, gpu


def test_the_halves_are_those_of_the_hash() -> None:
    """The README of the folder lists the halves as they were set before the first prediction."""
    lines = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    listed = {
        name: {source.strip() for source in cells.rstrip(" |").rpartition("|")[2].split(",")}
        for name in ("seen", "set aside")
        for cells in lines
        if cells.startswith(f"| {name} |")
    }
    sources = {row.source for row in ROWS}
    odd = {
        name for name in sources if hashlib.sha256(name.encode()).digest()[-1] & 1
    }  # the last bit of the number
    assert listed == {"seen": sources - odd, "set aside": odd}
    assert {half_of(name) for name in odd} == {Half.SET_ASIDE}
    assert odd >= SEEN_BEFORE


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_source_has_a_link_and_readable_rows(path: Path) -> None:
    """A file is named as its source, and every row is a case of ``tsplanner estimate``."""
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["source"] == path.stem
    assert document["link"].startswith("https://")
    assert document["published"]
    assert document["trainer"]
    models: dict[str, ModelSource] = {}
    for row in ROWS:
        if row.source == path.stem:
            read_case(row.case, models)
            # From a run of a few hundred million weights to the largest card there is.
            assert all(GIB / 4 < each.bytes < 290 * GIB for each in row.memory), row.case
