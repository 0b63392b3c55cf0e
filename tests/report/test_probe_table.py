"""The tables of probes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory_models.settings import changed, from_flat
from tests.support import tiny
from tsplanner.report.probe_table import gain_line, predicted_seconds, probe_lines, search_lines
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record

KIND = "Later plans of this model, method, kernels and length here: "
RAN = from_flat(
    Record,
    status=Status.OK,
    kind=JobKind.PROBE,
    process_bytes=660 * 2**20,
    step_seconds=(9.0, 9.0, 0.5, 0.5),
    warmup_steps=2,
)


def test_the_search_is_listed_fastest_first_with_how_each_ended(tmp_path: Path) -> None:
    """The chosen one leads, one out of memory has no figures, a crash says why below."""
    plan = tiny.plan(tmp_path)
    larger = tiny.with_hardware(plan, micro_batch_size=4, gradient_accumulation_steps=1)
    smaller = tiny.with_hardware(plan, micro_batch_size=1, gradient_accumulation_steps=4)
    full = Record(status=Status.HOST_OOM, kind=JobKind.PROBE)
    crash = Record(status=Status.CRASHED, kind=JobKind.PROBE, message="no such kernel")
    probed = [(larger, full), (smaller, crash), (plan, RAN)]
    lines = search_lines(probed, chosen=plan.hardware, first=larger.hardware)
    assert "s/step" in lines[0]
    assert "micro-batch 2" in lines[1]
    assert lines[1].endswith("chosen")
    assert " 0.5 " in lines[1]
    assert lines[2].endswith("first without probes, out of memory")
    assert lines[3].endswith("failed")
    assert lines[4] == "    failed: no such kernel"


def test_a_probe_is_compared_with_what_was_expected_of_its_own_step(tmp_path: Path) -> None:
    """A probe runs the longest batch: the plan's mean step is another one."""
    plan = tiny.plan(tmp_path)
    longer = replace(plan, dataset=changed(plan.dataset, longest=128))
    assert predicted_seconds(longer) > predicted_seconds(plan)
    assert predicted_seconds(changed(plan, work_factor=2.0)) > 1.5 * predicted_seconds(plan)


def test_a_probe_says_what_later_plans_gain(tmp_path: Path) -> None:
    """660 MiB where 600 were expected are 1.1 times as many; the error shrinks from 50 to 15 %."""
    line = gain_line(tiny.plan(tmp_path), RAN)
    assert line.startswith(KIND + "bytes x 1.10, seconds x ")
    assert line.endswith("± 15 % instead of ± 50 %.")
    assert probe_lines(tiny.plan(tmp_path), RAN)[-1] == line
