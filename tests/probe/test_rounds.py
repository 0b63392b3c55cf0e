"""Rounds of probes against a prober that has a table of truths and a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from memory_models.result import Interval
from memory_models.settings import changed, from_flat
from tests.support import tiny, toy_request
from tsplanner.datasets.records import LengthSummary
from tsplanner.errors import NoPlanFits
from tsplanner.planner.plan import Plan, Verdict
from tsplanner.planner.probe_selection.step_corrections import probed_time
from tsplanner.planner.rank import choose
from tsplanner.planner.replan import replan
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.calibration import probe_point
from tsplanner.probe.rounds import BASIS, Probed, loop_seconds, search, settled
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record

START = 4.0
"""Seconds that the fake's probes take beside their steps."""
PROCESS = 700 * 2**20


def request(folder: Path) -> PlanRequest:
    """20 candidates on a CPU: five micro-batches, checkpoints or none, two loss kernels."""
    return tiny.request(tiny.with_learning(tiny.plan(folder), effective_batch_size=16))


@dataclass
class Fake:
    """Runs plans in no time: a step takes what ``seconds`` says, None runs out of memory."""

    seconds: Callable[[HardwareSettings], float | None]
    lengths: LengthSummary = field(default_factory=lambda: toy_request.request().dataset.lengths)
    now: float = 0.0
    rounds: list[int] = field(default_factory=list)
    status: Status = Status.HOST_OOM
    """How a plan without seconds ends."""

    def clock(self) -> float:
        """Seconds since the start."""
        return self.now

    def __call__(self, plans: Sequence[Plan], time_limit_seconds: float) -> list[Record]:
        """One record a plan; the clock goes on by what they took."""
        self.rounds.append(len(plans))
        end = self.now + time_limit_seconds
        return [self._record(plan.hardware, end) for plan in plans]

    def _record(self, hardware: HardwareSettings, end: float) -> Record:
        step = self.seconds(hardware)
        self.now += START + loop_seconds(self.lengths, hardware.batch, step)
        if self.now > end:
            self.now = end
            return Record(status=Status.TIMEOUT, kind=JobKind.PROBE)
        if step is None:
            return Record(status=self.status, kind=JobKind.PROBE, message="as told")
        return from_flat(
            Record,
            status=Status.OK,
            kind=JobKind.PROBE,
            process_bytes=PROCESS,
            step_seconds=(step,) * 6,
        )


def slow_checkpoints(hardware: HardwareSettings) -> float:
    """Steps of 1 s at micro-batch 16 down to 0.5 s at micro-batch 4, more for what else is on."""
    size = {1: 0.9, 2: 0.7, 4: 0.5, 8: 0.8, 16: 1.0}[hardware.batch.micro_batch_size]
    return size * (1.5 if hardware.batch.gradient_checkpointing else 1.0)


def run(asked: PlanRequest, fake: Fake, budget: float) -> tuple[list[Probed], Plan]:
    """Search and settle."""
    evaluated = choose(asked).evaluated
    done = search(asked, evaluated, fake, budget, fake.clock)
    return done, settled(asked, evaluated, done)[0]


def test_the_budget_is_kept_and_the_best_of_what_ran_is_planned(tmp_path: Path) -> None:
    """A minute is for some probes of six to thirteen seconds each, not for all twenty."""
    asked, fake = request(tmp_path), Fake(slow_checkpoints)
    done, plan = run(asked, fake, 60)
    assert 4 <= len(done) <= 8
    assert fake.now <= 60
    fastest = min(slow_checkpoints(each.plan.hardware) for each in done)
    assert slow_checkpoints(plan.hardware) == fastest
    assert plan.verdict is Verdict.FITS


def test_a_budget_too_small_for_one_probe_still_gets_one(tmp_path: Path) -> None:
    """The plan that would have been chosen anyway is proven, and nothing after it."""
    asked, fake = request(tmp_path), Fake(slow_checkpoints)
    done, plan = run(asked, fake, 1)
    assert [each.plan.hardware for each in done] == [choose(asked).plan.hardware]
    assert plan.hardware == done[0].plan.hardware


def test_a_probe_that_hangs_is_stopped_one_probe_after_the_budget(tmp_path: Path) -> None:
    """A step of 1000 s was expected to be a short one: nothing ran, so the model chooses."""
    asked, fake = request(tmp_path), Fake(lambda _: 1000.0)
    done, plan = run(asked, fake, 60)
    assert fake.now <= 60 + 30
    assert done[0].record.status is Status.TIMEOUT
    assert plan.hardware == choose(asked).plan.hardware
    assert plan.time.basis != BASIS


def test_the_proven_plan_says_what_was_measured(tmp_path: Path) -> None:
    """Seconds and bytes as probed: all rows are as long as the longest. Both with their error."""
    asked = request(tmp_path)
    level = changed(asked.dataset, mean=64.0)
    asked, fake = replace(asked, dataset=level), Fake(slow_checkpoints)
    _, plan = run(asked, fake, 1000)
    assert plan.time.step_seconds == pytest.approx(0.5)
    assert (plan.time.basis, plan.time.relative_error) == (BASIS, 0.15)
    assert plan.memory.process_bytes == Interval(expected=PROCESS, upper=756_023_296)
    assert sum(part.bytes for part in plan.memory.components) == PROCESS
    again = replan(plan, plan.learning)
    assert again.time.step_seconds == pytest.approx(0.5)
    assert again.memory.process_bytes.expected == pytest.approx(PROCESS, rel=1e-6)


def test_a_proven_plan_that_is_probed_again_is_judged_by_the_plain_model(tmp_path: Path) -> None:
    """What was measured is no prediction: a second point says of the model what the first said."""
    asked, fake = request(tmp_path), Fake(slow_checkpoints)
    done, plan = run(asked, fake, 1000)
    first = next(each for each in done if each.plan.hardware == plan.hardware)
    record = first.record
    once, twice = probe_point(first.plan, record, now=0.0), probe_point(plan, record, now=0.0)
    assert twice.predicted.process_bytes == pytest.approx(once.predicted.process_bytes, abs=1)
    assert twice.predicted.step_seconds == pytest.approx(once.predicted.step_seconds)


def test_a_probe_of_long_rows_does_not_vouch_for_short_ones() -> None:
    """One row of 4,096 keeps the GPU busy, rows of 200 wait for the host: that was not measured."""
    asked = toy_request.request("qwen3-8b", toy_request.HOPPER, length=4096)
    pins = Pins(micro_batch_size=1, gradient_checkpointing=False)
    asked = replace(asked, pins=pins)

    def error_of(mean: float) -> float:
        rows = changed(asked.dataset, mean=mean, quantiles=(int(mean),))
        mine = replace(asked, dataset=rows)
        fake = Fake(lambda hardware: probed_time(mine, hardware).seconds)
        return run(mine, fake, 1000)[1].time.relative_error

    assert error_of(4096.0) == 0.15
    assert error_of(200.0) == 0.55


def test_memory_that_runs_out_moves_the_search_to_smaller_plans(tmp_path: Path) -> None:
    """Without checkpoints nothing runs here: the fastest with them is found behind those."""
    asked = request(tmp_path)

    def seconds(hardware: HardwareSettings) -> float | None:
        if not hardware.batch.gradient_checkpointing:
            return None
        return 10 * probed_time(asked, hardware).seconds

    done, plan = run(asked, Fake(seconds), 1000)
    assert done[0].record.status is Status.HOST_OOM
    assert plan.hardware.batch.gradient_checkpointing
    assert plan.hardware.batch.micro_batch_size == 16


def test_if_nothing_runs_the_search_ends_with_a_sentence(tmp_path: Path) -> None:
    """Every candidate runs out of memory: no plan, and no plan file that pretends."""
    fake = Fake(lambda _: None)
    with pytest.raises(NoPlanFits, match=r"^No plan ran"):
        run(request(tmp_path), fake, 10_000)
    assert sum(fake.rounds) <= 20


def test_crashes_end_the_search_soon(tmp_path: Path) -> None:
    """A broken installation fails two probes of each recipe, of which a CPU has two."""
    fake = Fake(lambda _: None, status=Status.CRASHED)
    with pytest.raises(NoPlanFits):
        run(request(tmp_path), fake, 10_000)
    assert sum(fake.rounds) <= 6


def test_the_start_is_learned_from_the_first_round(tmp_path: Path) -> None:
    """15 s are assumed and 4 s are taken: in 60 s more probes are made than 60 / 15."""
    asked, fake = request(tmp_path), Fake(lambda _: 0.5)
    done, _ = run(asked, fake, 60)
    assert len(done) > 4
    assert probed_time(asked, done[0].plan.hardware).seconds > 0
