"""The probes of a plan: which of them share a worker, and what becomes of their records."""

from __future__ import annotations

from pathlib import Path

from tests.support import tiny
from tsplanner.probe.proof import groups
from tsplanner.training.job import Job, JobKind


def test_candidates_of_one_process_share_a_worker_and_others_have_their_own(
    tmp_path: Path,
) -> None:
    """Two micro-batches on one GPU share it; two ranks, ZeRO and another GPU do not."""
    base = tiny.plan(tmp_path)
    several = [
        tiny.with_hardware(base, accelerator="cuda"),
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
        ["0", "3"],
        ["1"],
        ["2"],
        ["4"],
    ]
