"""How a run goes on, from the lines of metrics.jsonl."""

from __future__ import annotations

import pytest

from tsplanner.report.records.pace import LINES, RECENT_STEPS, Pace


def test_speed_and_time_left_are_those_of_the_newest_steps() -> None:
    """The first step warms up: 10 s. Then 0.5 s each, so that 60 steps take 30 s more."""
    pace = Pace(100, tokens_per_step=1500.0)
    assert pace.words == ""
    assert pace.step_seconds is None
    pace.see({"step": 1, "loss": 2.0, "seconds": 10.0})
    assert pace.words == "loss 2.000"
    for step in range(2, 41):
        pace.see({"step": step, "loss": 1.25, "seconds": 9.5 + 0.5 * step})
    assert pace.step_seconds == pytest.approx(0.5)
    assert pace.words == "loss 1.250 · 0.5 s/step · 3,000 tokens/s · about 30 s left"


def test_an_evaluation_is_no_step() -> None:
    """Its 7 seconds count for nothing, and its loss stays in sight."""
    pace = Pace(10)
    for step in (1, 2):
        pace.see({"step": step, "loss": 1.0, "seconds": 2.0 * step})
    pace.see({"step": 2, "eval_loss": 0.4321, "seconds": 11.0})
    assert pace.words == "loss 1.000 · 2 s/step · about 16 s left · eval 0.432"
    pace.see({"step": 3, "loss": 0.9, "seconds": 13.0})
    assert pace.step_seconds == pytest.approx(2.0)
    assert pace.words == "loss 0.900 · 2 s/step · about 14 s left · eval 0.432"


def test_a_resumed_run_counts_anew() -> None:
    """Its seconds begin at nought again."""
    pace = Pace(10)
    pace.see({"step": 5, "loss": 1.0, "seconds": 50.0})
    pace.see({"step": 6, "loss": 1.0, "seconds": 1.0})
    assert pace.step_seconds is None
    pace.see({"step": 7, "loss": 1.0, "seconds": 4.0})
    assert pace.step_seconds == pytest.approx(3.0)


def test_a_pipe_is_told_some_twenty_times() -> None:
    """And of the last step; of a short run, of every step."""
    told = []
    pace = Pace(205)
    for step in range(1, 206):
        pace.see({"step": step, "loss": 1.0, "seconds": float(step)})
        told += [step] if pace.is_worth_a_line else []
    assert told == [*range(10, 201, 10), 205]
    assert len(told) <= LINES + 1
    assert len(pace._times) == RECENT_STEPS + 1
