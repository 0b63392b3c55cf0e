"""Encodings that are not UTF-8, and what mends them."""

from __future__ import annotations

import codecs
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsplanner.datasets.files.encodings import likely_encoding, mending, wide_encoding

ROW = '{"instruction": "Name a colour", "output": "Blue"}\n'


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "UTF-32LE"),
        ("utf-32-be", "UTF-32BE"),
        ("utf-8", None),
        ("utf-8-sig", None),
        ("ascii", None),
    ],
)
def test_wide_characters_are_known_by_their_mark_or_their_zeros(
    encoding: str, found: str | None
) -> None:
    """With a byte order mark and without one."""
    assert wide_encoding((ROW * 3).encode(encoding)) == found


def test_chinese_in_wide_characters_is_known_by_its_names_of_fields() -> None:
    """Of a Chinese row the quotes, brackets and names are ASCII."""
    row = '{"instruction": "请说出一种颜色", "input": "", "output": "蓝色"}\n'
    assert wide_encoding(row.encode("utf-16-le")) == "UTF-16LE"


@given(st.text(max_size=60))
def test_no_text_in_utf8_is_taken_for_another_encoding(text: str) -> None:
    """A text that holds no zero byte has single bytes."""
    data = text.replace("\0", "").encode("utf-8", "ignore")
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    assert data.startswith(marks) or wide_encoding(data) is None


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("水泵运行正常", "gbk", "GBK"),
        ("泵 3 的流量是多少", "gb18030", "GBK"),
        ("Le café est ouvert", "latin-1", "WINDOWS-1252"),
        ("für Öl und Wärme", "cp1252", "WINDOWS-1252"),
        ("“quoted” words", "cp1252", "WINDOWS-1252"),
    ],
)
def test_single_bytes_are_guessed_by_their_runs(text: str, encoding: str, found: str) -> None:
    """GBK's characters are pairs of high bytes; Latin letters stand alone."""
    assert likely_encoding(f'{{"output": "{text}"}}'.encode(encoding)) == found


def test_the_command_that_mends_a_file_does_mend_it(tmp_path: Path) -> None:
    """It is run as printed, for a name with a blank in it."""
    path = tmp_path / "my rows.jsonl"
    path.write_bytes(ROW.encode("utf-16"))
    subprocess.run(mending(path, "UTF-16"), shell=True, check=True)
    assert (tmp_path / "my rows-utf8.jsonl").read_text("utf-8-sig") == ROW
