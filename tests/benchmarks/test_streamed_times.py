"""The table of streamed steps: which runs it reads, and what is fitted on them."""

from __future__ import annotations

import pytest

from benchmarks.accuracy.streamed_times import Timed, after_probe, fitted, probe_factors, read
from benchmarks.speed.streaming_runs import RUNS
from tsplanner.throughput.host_link import LinkTime
from tsplanner.throughput.step_parts import StepTime

NAMED = {run.name: run for run in RUNS}
WORKS = StepTime(matrix=9, memory=0, launch=1, optimizer=0, communication=0, offload=0)
WAITS = StepTime(matrix=0, memory=0, launch=4, optimizer=0, communication=0, offload=0)


def timed(name: str, measured: float, layers: int, parts: StepTime) -> Timed:
    """A run of one file."""
    return Timed(NAMED[name], "speed_1", measured, 1.0, layers, parts)


def test_constants_follow_from_pairs_and_from_steps_that_wait_for_the_host() -> None:
    """A streamed step takes 2 s more than the resident one, 4 layers of 5 passes: 0.1 s each; a
    step of 4 s took 10 with 10 of them: 0.6 each, less the 0.1.
    """
    rows = [
        timed("resident", 9, 0, WORKS),
        timed("streamed-8", 11, 20, WORKS),
        timed("link-free", 10, 10, WAITS),
    ]
    found = fitted(rows)
    assert found.recorded_layer_seconds == pytest.approx(0.1)
    assert found.streamed_layer_seconds == pytest.approx(0.5)
    forecast = rows[2].forecast(found)
    assert forecast.seconds == pytest.approx(10)
    # A third of the 4 s was forward's, and none of the 5 that came on top of it.
    assert forecast.launch * forecast.link.issued_share == pytest.approx(4 / 3)
    assert rows[2].error(12) == pytest.approx(0.2)


def test_steps_that_wait_for_a_link_say_nothing_of_issuing() -> None:
    """Nor is anything known where no run is left."""
    slow = StepTime(
        matrix=0,
        memory=0,
        launch=4,
        optimizer=0,
        communication=0,
        offload=0,
        link=LinkTime(weights=9),
    )
    found = fitted([timed("link-3.0", 30, 10, slow)])
    assert found.recorded_layer_seconds == found.streamed_layer_seconds == 0


def test_streamed_steps_are_forecast_within_a_tenth_of_the_runs_they_were_fitted_on() -> None:
    """Nine of three shapes, of which eight were off by 7.6 to 35 % before."""
    streamed = [row for row in read() if row.layers and row.kind == "fitted"]
    assert len(streamed) == 9
    errors = [abs(row.error(row.forecast(row.host).seconds)) for row in streamed]
    assert max(errors) < 0.1
    assert sum(abs(row.error(row.then)) > 0.076 for row in streamed) == 8


def test_runs_that_were_read_after_the_fit_are_forecast_as_well() -> None:
    """14B in fp16, 72B in fp8 and 1.5B over short rows, of which 50 steps were timed."""
    held = {row.run.name: row for row in read() if row.layers and row.kind == "held out"}
    assert sorted(held) == ["losses-streamed", "streamed-72b-24-fp8", "streamed-fp16-8"]
    assert all(abs(row.error(row.forecast(row.host).seconds)) < 0.06 for row in held.values())
    assert held["losses-streamed"].error(held["losses-streamed"].then) < -0.36


def test_a_7b_over_slow_links_is_forecast_within_the_bar_before_a_probe() -> None:
    """As it was foretold, and since the link rests beside the loss and the outer layers."""
    seen = [row for row in read() if row.kind == "seen"]
    assert len(seen) == 5
    assert all(abs(row.error(row.then)) < 0.15 for row in seen)
    now = [abs(row.error(row.forecast(row.host).seconds)) for row in seen]
    assert all(new <= abs(row.error(row.then)) for row, new in zip(seen, now, strict=True))


def test_an_8b_over_links_that_really_rest_is_forecast_before_and_after_a_probe() -> None:
    """Foretold first: within 7.3 % at 25 to 3 GB/s, and 5.4 % at worst after a probe."""
    rows = [row for row in read() if row.kind == "later"]
    assert [row.run.link for row in rows] == [None, 25.0, 12.0, 6.0, 3.0]
    assert all(abs(row.error(row.then)) < 0.073 for row in rows)
    factors = probe_factors(rows)
    after = [abs(row.error(after_probe(row, factors["8b"]).seconds)) for row in rows[1:]]
    assert max(after) == after[0] == pytest.approx(0.054, abs=0.001)
    assert max(after[1:]) < 0.032
