"""The trials of a search on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.hand_made import trained
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Charts, Line, Table
from tsplanner.report.records.trials import Trial
from tsplanner.report.sections.search import best_trial, searches, trials_chart

BASELINE = Trial(
    number=0,
    rank=32,
    learning_rate=3e-4,
    epochs=3.0,
    seed=42,
    status="ok",
    evaluations=((10.0, 0.5), (20.0, 0.4), (30.0, 0.42)),
)
STOPPED = replace(BASELINE, number=1, rank=8, status="stopped", evaluations=((10.0, 0.7),))
BETTER = replace(BASELINE, number=2, learning_rate=1e-3, evaluations=((10.0, 0.45), (20.0, 0.38)))
CRASHED = replace(BASELINE, number=3, status="crashed", evaluations=())
OPEN = replace(BASELINE, number=4, status=None, evaluations=())
TRIALS = (BASELINE, STOPPED, BETTER, CRASHED, OPEN)


def test_every_trial_has_a_row_with_its_distance_from_the_baseline(tmp_path: Path) -> None:
    """0.38 is 0.02 below the baseline's best, which is 0.4; the lowest is marked."""
    section = searches([replace(trained(tmp_path), trials=TRIALS)])
    assert section is not None
    table, charts = section.blocks[:2]
    assert isinstance(table, Table)
    assert isinstance(charts, Charts)
    rows = [[translate(cell, Language.EN) for cell in row] for row in table.rows]
    assert rows[2] == ["2 (lowest)", "32", "0.001", "3", "42", "0.3800", "-0.0200", "done"]
    assert [row[-1] for row in rows] == [
        *("done", "stopped early", "done", "failed: crashed"),
        "no record: still running, or killed",
    ]
    assert rows[3][5:7] == ["-", "-"]


def test_all_trials_share_a_chart_and_the_best_one_stands_out(tmp_path: Path) -> None:
    """One name stands for all others; trials without an evaluation have no line."""
    chart = trials_chart(replace(trained(tmp_path), trials=TRIALS), "title")
    assert chart is not None
    assert [curve.line for curve in chart.curves] == [Line.TRIAL, Line.TRIAL, Line.HELD_OUT]
    assert [translate(curve.label, Language.EN) for curve in chart.curves] == [
        *("other trials", "", "trial 2")
    ]
    assert chart.best == (20.0, 0.38)
    assert best_trial((CRASHED,)) is None
    assert trials_chart(replace(trained(tmp_path), trials=(CRASHED,)), "title") is None


def test_a_run_without_a_search_has_no_section(tmp_path: Path) -> None:
    """Nothing is said of what was not done."""
    assert searches([trained(tmp_path)]) is None
