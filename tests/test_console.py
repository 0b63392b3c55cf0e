"""What may be printed, in which signs, and how wide."""

from __future__ import annotations

import io
import shlex
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.terminal import Terminal
from tsplanner.console import (
    Edge,
    bare,
    columns,
    command,
    edges,
    fold,
    is_plain,
    one_line,
    rich_console,
    visible,
    width,
)

ROW = "  the same, micro-batch 4      0.74 (0.95)  0.96x  slower: the matrix products of it"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain · words ✔", "plain · words ✔"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\rb\x07\x7f\x9b", r"a\rb\x07\x7f\x9b"),
        ("left \u202e right \u2066", r"left \u202e right \u2066"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("训练 0.5 GiB", "训练 0.5 GiB"),
    ],
)
def test_control_characters_are_spelt_out(text: str, seen: str) -> None:
    """They would clear a screen, overwrite a line, or turn the order of the words."""
    assert visible(text) == seen


def test_a_name_stays_on_its_line() -> None:
    """A line break in a name would forge a line of our own."""
    assert one_line("a\nb\tc\x1b") == r"a\nb\tc\x1b"


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", b"+ FITS | 95 % +- 1 ... x ? .#\n"),
        ("cp1252", b"+ FITS \xb7 95 % \xb1 1 \x85 x \xe9 .#\n"),
        ("gbk", "+ FITS · 95 % ± 1 … x é ▁█\n".encode("gbk")),
        ("utf-8", "✔ FITS · 95 % ± 1 … ✘ é ▁█\n".encode()),
    ],
)
def test_an_encoding_without_a_sign_gets_a_plain_one(
    encoding: str, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the encoding lacks is shown in ASCII; what it has stays."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    with edges(folds=False):
        sys.stdout.write("✔ FITS · 95 % ± 1 … ✘ é ▁█\n")
        sys.stdout.flush()
    assert raw.getvalue() == written
    assert sys.stdout is stream


def test_a_name_that_is_no_text_is_printed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file name of bytes that are no UTF-8 holds lone surrogates."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    with edges(folds=False):
        sys.stdout.write("caf\udce9\n")
        sys.stdout.flush()
    assert raw.getvalue() == b"caf?\n"


def test_a_row_goes_on_under_its_last_near_cell() -> None:
    """The columns of a table stay where there is room for them."""
    assert fold(ROW, 60) == [
        "  the same, micro-batch 4      0.74 (0.95)  0.96x  slower:",
        "                               the matrix products of it",
    ]


def test_a_row_without_room_becomes_a_short_list() -> None:
    """Its first cell is the heading."""
    assert fold(ROW, 40) == [
        "  the same, micro-batch 4",
        "      0.74 (0.95)  0.96x  slower: the",
        "      matrix products of it",
    ]


def test_a_sentence_goes_on_a_little_to_the_right() -> None:
    """So that it is seen where the next one begins."""
    assert fold("one two three four five six", 16) == ["one two three", "  four five six"]
    assert fold("    one two three four", 16) == ["    one two", "    three four"]


def test_a_word_longer_than_the_screen_is_cut() -> None:
    """A path of 30 characters takes two lines of 20."""
    assert fold("x" * 30, 20) == ["x" * 20, "  " + "x" * 10]


def test_a_line_as_long_as_a_file_is_shortened_on_a_screen() -> None:
    """Its beginning and its end are shown, at once."""
    pieces = fold("a" * 10**6 + "z", 80)
    assert 50 <= len(pieces) <= 54
    assert (pieces[0][0], pieces[-1][-1]) == ("a", "z")


def test_chinese_characters_take_two_columns() -> None:
    """Eight of them fill a screen of 16."""
    assert width("训练a") == 5
    assert fold("训" * 10, 16) == ["训" * 8, "  " + "训" * 2]


@given(st.text(alphabet="ab ·▁训-", max_size=200), st.integers(16, 100))
def test_no_line_is_wider_than_the_screen_and_no_sign_is_lost(line: str, most: int) -> None:
    """Blanks apart, the pieces are the line."""
    pieces = fold(line, most)
    assert all(width(piece) <= most for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(line.split())


def test_a_pipe_is_not_folded_and_a_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log keeps whole lines; a JSON document on a terminal stays one, too."""
    monkeypatch.setenv("COLUMNS", "20")
    line = "word " * 8
    for stream, folds, lines in (
        (io.StringIO(), True, 1),
        (Terminal(), True, 3),
        (Terminal(), False, 1),
    ):
        Edge(stream, folds=folds).write(f"{line.strip()}\n")
        assert stream.getvalue().count("\n") == lines


def test_what_draws_by_itself_gets_the_stream_behind_the_edge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sequences of a progress bar must reach the terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    edge = Edge(terminal, folds=True)
    assert bare(edge) is terminal  # type: ignore[arg-type]
    rich_console(edge).print("[b]", style="red")  # type: ignore[arg-type]
    assert terminal.getvalue() == "\x1b[31m[b]\x1b[0m\n"


def test_a_command_to_paste_runs_nothing_of_a_names() -> None:
    """A path with a blank stays one word, and a name with a command in it a name."""
    assert command("probe", "--plan", "a b/plan.json") == "tsplanner probe --plan 'a b/plan.json'"
    said = command("plan", "--model", "$(touch x); 'y'")
    assert shlex.split(said) == ["tsplanner", "plan", "--model", "$(touch x); 'y'"]
    assert said.startswith("tsplanner plan --model '$(touch x); '")


def test_writelines_goes_through_the_edge() -> None:
    """There is no way around it."""
    stream = io.StringIO()
    Edge(stream, folds=False).writelines(["a\x1b", "b"])
    assert stream.getvalue() == "a\\x1bb"


def test_the_width_is_what_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """COLUMNS goes first; a stream without a terminal has the usual 80."""
    monkeypatch.setenv("COLUMNS", "47")
    assert columns() == 47
    monkeypatch.setenv("COLUMNS", "many")
    assert columns(io.StringIO()) == 80


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [("NO_COLOR", "1", True), ("NO_COLOR", "", False), ("TERM", "dumb", True)],
)
def test_no_color_and_dumb_terminals_are_plain(
    name: str, value: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty NO_COLOR is none. Source: no-color.org."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    assert is_plain() is plain


def test_a_folded_command_keeps_its_path_whole() -> None:
    """A path that is cut in the middle cannot be copied; further left there is room for it."""
    path = "saves/a-model-of-a-long-name/plan.json"
    line = f"or write a job for it here  tsplanner export torchrun --plan {path}"
    pieces = fold(line, 50)
    assert [piece.strip() for piece in pieces][-1] == path
    assert all(width(piece) <= 50 for piece in pieces)


def test_a_folded_row_keeps_no_blanks_of_its_columns() -> None:
    """Columns that are gone leave two blanks between cells, and no empty lines."""
    pieces = fold("date        ran as" + " " * 60 + "length   counts", 40)
    assert pieces == ["date        ran as  length  counts"]
