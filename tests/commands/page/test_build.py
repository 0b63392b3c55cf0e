"""The page as one file."""

from __future__ import annotations

import io
import json
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tsplanner.commands.page.build import (
    ASSETS,
    compressed_mib,
    fetched,
    main,
    own_files,
    page,
    pruned,
    served_page,
    static_page,
)
from tsplanner.errors import TsplannerError
from tsplanner.report.render.templates import FOLDER


class Sources(HTMLParser):
    """Addresses that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag points at."""
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_served_page_is_whole_and_loads_nothing() -> None:
    """Styles, scripts, words and facts are in the file."""
    text = served_page([{"name": "RTX 4090", "count": 2, "free_bytes": 5}])
    sources = Sources()
    sources.feed(text)
    assert sources.found == ["data:,"]
    facts = json.loads(re.findall(r'id="facts">(.*?)</script>', text, flags=re.S)[0])
    assert facts["own"] == [{"name": "RTX 4090", "count": 2, "free_bytes": 5}]


def test_a_text_cannot_end_the_script_that_it_stands_in() -> None:
    """JSON escapes a slash after a less-than sign."""
    text = page("served.js", {"first": "</script><b>"}, {})
    assert "</script><b>" not in text


def test_both_languages_say_the_same_things() -> None:
    """No word is missing in either."""
    words = json.loads((ASSETS / "messages.json").read_text(encoding="utf-8"))
    assert set(words["en"]) == set(words["zh"])
    assert set(words["en"]["part_names"]) == set(words["zh"]["part_names"])
    used = set(
        re.findall(r'data-say="(\w+)"', (FOLDER / "will_it_fit.html.jinja").read_text("utf-8"))
    )
    used |= set(re.findall(r'say\("(\w+)"\)', (ASSETS / "page.js").read_text("utf-8")))
    assert used - set(words["en"]) == set()


def test_the_archive_of_sources_is_the_same_each_time() -> None:
    """It holds both packages and the presets."""
    first = own_files()
    assert first == own_files()
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        names = set(archive.namelist())
    assert {
        "memory_models/estimate.py",
        "tsplanner/commands/page/answer.py",
        "tsplanner/models/known/model_types.json",
        "configs/models/qwen2.5-7b/config.json",
    } <= names


def test_of_the_library_only_what_was_imported_is_kept(tmp_path: Path) -> None:
    """And what the interpreter looks for by name when it starts."""
    whole = tmp_path / "library.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for name in ("json/decoder.pyc", "tkinter/__init__.pyc", "encodings/utf_8.pyc"):
            archive.writestr(name, "x")
    kept = pruned(whole, ["/lib/python313.zip/json/decoder.pyc"])
    with zipfile.ZipFile(io.BytesIO(kept)) as archive:
        assert archive.namelist() == ["json/decoder.pyc", "encodings/utf_8.pyc"]


def test_a_missing_program_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Node starts the interpreter, and npm fetches it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TsplannerError, match=r"npm is needed .* install Node\.js"):
        fetched(tmp_path)
    with pytest.raises(TsplannerError, match="node is needed"):
        static_page(tmp_path)
    assert main(["--pyodide", str(tmp_path), "--output", str(tmp_path / "page.html")]) == 1
    assert capsys.readouterr().err.startswith("tsplanner: node is needed")
    assert not (tmp_path / "page.html").exists()


def test_the_size_over_the_wire_is_that_of_the_compressed_page() -> None:
    """A server compresses what it sends: a mebibyte of one letter becomes a thousandth."""
    assert 0.0005 < compressed_mib("a" * 2**20) < 0.002
