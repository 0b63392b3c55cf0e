"""Words for a person: colours on a terminal, the same words in a pipe."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.terminal import Terminal
from tsplanner.commands.views.screen import Screen, bar, interactive, trace_status


def test_a_pipe_gets_the_words_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """No escape sequence ends up in a file."""
    screen = Screen()
    screen.line("as it is [bold]", "red")
    screen.line()
    assert capsys.readouterr().out == "as it is [bold]\n\n"
    assert not interactive()


def test_a_terminal_gets_them_in_colour_and_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets in a name are no markup, and no word is lost where a long line folds."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Screen().line("[bold] " + "word " * 60, "red")
    assert interactive()
    said = terminal.getvalue()
    assert said.startswith("\x1b[31m[bold] word ")
    assert terminal.plain.split() == ["[bold]", *["word"] * 60]
    assert max(map(len, terminal.plain.splitlines())) <= 60


@pytest.mark.parametrize("name", ["NO_COLOR", "TERM"])
def test_no_style_at_all_where_none_is_wanted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and a dumb terminal get neither colours nor bold letters."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(name, "dumb")
    Screen().line("bold and red", "bold red")
    assert terminal.getvalue() == "bold and red\n"
    assert not interactive()


def test_a_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and line breaks of a name are spelt out."""
    Screen().line("name \x1b[2J\nnext")
    assert capsys.readouterr().out == "name \\x1b[2J\\nnext\n"


def test_a_bar_is_drawn_in_eighths() -> None:
    """Half of four cells are two; one eighth more is a thin cell."""
    assert [bar(share, 4) for share in (0.0, 0.5, 1.0)] == ["", "██", "████"]
    assert bar(17 / 32, 4) == "██▏"
    assert bar(31 / 32, 4) == "███▉"


@given(st.floats(-1, 2), st.integers(1, 40))
def test_a_bar_never_leaves_its_width(share: float, width: int) -> None:
    """More than everything is everything."""
    assert len(bar(share, width)) <= width
    if share >= 1:
        assert bar(share, width) == "█" * width


def test_traces_are_counted_for_a_person_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe gets nothing; a terminal gets one line that is taken away again."""
    with trace_status() as told:
        told(0, 3)
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with trace_status() as told:
        told(1, 3)
    assert "tracing 2 of 3" in terminal.getvalue()
