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
    """Brackets in a name are no markup, and a long line is not cut."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Screen().line("[bold] " + "word " * 60, "red")
    assert interactive()
    said = terminal.getvalue()
    assert said.startswith("\x1b[31m[bold] word ")
    assert said.count("\n") == 1


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
