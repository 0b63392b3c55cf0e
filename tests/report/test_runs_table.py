"""One row per run, for a terminal and for programs."""

from __future__ import annotations

from pathlib import Path

from tests.support.hand_made import GIB, summary, trained
from tsplanner.report.runs_table import (
    HEADINGS,
    cells,
    document,
    markdown,
    predicted_bytes,
    short_list,
)


def test_a_run_is_a_row_with_a_cell_per_heading(tmp_path: Path) -> None:
    """1,200 s are 20.0 minutes; a run that was recorded elsewhere has no prediction."""
    found = dict(zip(HEADINGS, cells(summary()), strict=True))
    assert (found["seconds"], found["minutes"]) == ("1200.0", "20.0")
    assert (found["loss, last step"], found["loss, run mean"]) == ("0.4700", "0.6400")
    assert found["loss, held out (best)"] == "0.6000"
    assert (found["quantisation"], found["hardware"]) == ("none", "2x Card X")
    assert (found["peak GiB, predicted"], found["peak GiB, measured"]) == ("-", "-")
    own = dict(zip(HEADINGS, cells(trained(tmp_path)), strict=True))
    assert (own["peak GiB, predicted"], own["peak GiB, measured"]) == ("16.0", "17.0")


def test_what_is_not_known_is_a_dash() -> None:
    """A run that was killed has neither seconds nor a rate."""
    found = dict(zip(HEADINGS, cells(summary(seconds=None, samples_per_second=None)), strict=True))
    assert [found[key] for key in ("seconds", "minutes", "samples/s")] == ["-", "-", "-"]


def test_the_table_lines_up_and_says_which_columns_hold_figures() -> None:
    """Words stand left and figures right, so that the table reads as plain text too."""
    lines = markdown([summary("a"), summary("a-much-longer-name", steps=123_456)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 4
    rule = [cell.strip() for cell in lines[1].strip("|").split("|")]
    assert [cell.endswith(":") for cell in rule] == [False] * 6 + [True] * 10
    assert lines[2].startswith("| a                  | m-7b ")
    assert "|     78 |" in lines[2]
    assert "| 123456 |" in lines[3]


def test_programs_get_numbers_and_none(tmp_path: Path) -> None:
    """The same run as plain values: bytes per rank, and None for what is not known."""
    own = document(trained(tmp_path, "mine"))
    assert own["run"] == "mine"
    assert (own["predicted_bytes"], own["measured_bytes"]) == (16 * GIB, 17 * GIB)
    assert (own["last_loss"], own["mean_loss"], own["eval_loss"]) == (0.18, 0.473, 0.41)
    recorded = document(summary())
    assert recorded["predicted_bytes"] is None
    assert recorded["quantization"] == "none"
    assert predicted_bytes(summary()) is None


def test_a_narrow_screen_gets_a_list_of_what_is_known() -> None:
    """The name, and below it every figure with its heading; dashes are left out."""
    name, figures = short_list([summary("a", seconds=None)]).splitlines()
    assert name == "a"
    assert figures.startswith("  model m-7b · method ")
    assert "steps 78 · epochs " in figures
    assert "loss, held out (best) 0.6000" in figures
    assert "minutes" not in figures
