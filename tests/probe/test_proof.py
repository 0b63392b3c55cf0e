"""The probes of a plan: which of them share a worker, and what becomes of their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.planner.gather.probe_points import load_calibration
from tsplanner.planner.rank import choose
from tsplanner.probe import proof
from tsplanner.probe.proof import groups
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record


def test_candidates_of_one_process_share_a_worker_and_others_have_their_own(
    tmp_path: Path,
) -> None:
    """Two micro-batches on one GPU share it; two ranks, ZeRO and another GPU do not.

    A base that is streamed comes behind those that the worker keeps for each other.
    """
    base = tiny.plan(tmp_path)
    streamed = {"streamed_layers": 2, "gradient_checkpointing": True}
    several = [
        tiny.with_hardware(base, accelerator="cuda"),
        tiny.with_hardware(base, accelerator="cuda", **streamed),
        tiny.with_hardware(base, accelerator="cuda", world_size=2),
        tiny.with_hardware(base, accelerator="cuda", zero_stage=3),
        tiny.with_hardware(base, accelerator="cuda", micro_batch_size=1),
        tiny.with_hardware(base, accelerator="cuda", devices=(1,)),
    ]
    jobs = [
        Job(kind=JobKind.PROBE, plan=each, folder=str(number))
        for number, each in enumerate(several)
    ]
    assert [[job.folder for job in group] for group in groups(jobs)] == [
        ["0", "4", "1"],
        ["2"],
        ["3"],
        ["5"],
    ]


@contextmanager
def unwatched(_: Sequence[Job]) -> Iterator[None]:
    """Nobody looks at the progress."""
    yield


def record_for(job: Job) -> Record:
    """How a stand-in ends a job: larger micro-batches run out of memory."""
    if job.plan.hardware.batch.micro_batch_size > 2:
        return Record(status=Status.HOST_OOM, kind=JobKind.PROBE, message="full")
    return from_flat(
        Record,
        status=Status.OK,
        kind=JobKind.PROBE,
        process_bytes=600 * 2**20,
        step_seconds=(0.2, 0.1, 0.1),
        warmup_steps=1,
    )


@pytest.fixture
def groups_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[Job]]:
    """The groups of jobs that were run; a worker of torch would take ten seconds each."""
    ran: list[list[Job]] = []

    def run(jobs: Sequence[Job], time_limit_seconds: float) -> list[Record]:
        assert time_limit_seconds >= proof.LEAST_SECONDS
        ran.append(list(jobs))
        return [record_for(job) for job in jobs]

    monkeypatch.setattr(proof, "run_group", run)
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))
    return ran


def test_records_come_back_in_the_order_of_the_plans(
    tmp_path: Path, groups_run: list[list[Job]]
) -> None:
    """Jobs are grouped by their worker; only probes that ran are kept for later plans."""
    base = tiny.plan(tmp_path)
    plans = [
        tiny.with_hardware(base, micro_batch_size=4, gradient_accumulation_steps=1),
        base,
        tiny.with_hardware(base, micro_batch_size=1, gradient_accumulation_steps=4),
    ]
    records = proof.Workers(tmp_path / "probes", unwatched)(plans, 60.0)
    assert [record.status for record in records] == [Status.HOST_OOM, Status.OK, Status.OK]
    assert [len(group) for group in groups_run] == [3]
    assert {Path(job.folder).name for job in groups_run[0]} == {"1", "2", "3"}
    assert len(load_calibration(base.machine)) == 2


def test_a_worker_whose_turn_comes_too_late_still_ends_in_a_record(
    tmp_path: Path, groups_run: list[list[Job]]
) -> None:
    """It is given a second, and the stand-in checks that."""
    (record,) = proof.Workers(tmp_path / "probes", unwatched)([tiny.plan(tmp_path)], -5.0)
    assert record.status is Status.OK
    assert len(groups_run) == 1


def test_a_proven_plan_names_what_would_have_been_chosen_without(
    tmp_path: Path, groups_run: list[list[Job]]
) -> None:
    """Micro-batches above 2 do not run here: the plan has at most 2, and is a measured one."""
    request = tiny.request(tiny.with_learning(tiny.plan(tmp_path), effective_batch_size=16))
    choice = choose(request)
    found = proof.proven(request, choice, 60.0, unwatched)
    assert found.first == choice.plan.hardware
    assert found.choice.plan.hardware.batch.micro_batch_size <= 2
    assert found.choice.plan.memory.process_bytes.expected == 600 * 2**20
    assert len(found.probed) == sum(len(group) for group in groups_run)
