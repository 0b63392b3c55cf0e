"""One record of several ranks', and how their worker is started."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from memory_models.device import Device, Machine
from memory_models.settings import changed, from_flat
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.launch import device_environment, worker_command, worker_devices
from tsplanner.probe.process_records import merged_record, missing_ranks, remove_records
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import MeasuredMemory, ProcessMemory, Record, record_file

OK = from_flat(
    Record,
    status=Status.OK,
    kind=JobKind.PROBE,
    peak_allocated_bytes=70,
    peak_reserved_bytes=80,
    process_bytes=90,
    host_bytes=1000,
    pinned_bytes=5,
)


def leave(folder: Path, rank: int, record: Record) -> None:
    """Write a rank's record as that rank does."""
    path = record_file(folder, rank)
    path.write_bytes(msgspec.json.encode(replace(record, process=rank)))


def merged(folder: Path, *records: Record | None) -> Record | None:
    """What becomes of these ranks' records; None: that rank left none."""
    for rank, record in enumerate(records):
        if record is not None:
            leave(folder, rank, record)
    return merged_record(folder, len(records))


def ended(status: Status, message: str = "") -> Record:
    """A rank that ended so."""
    return Record(status=status, kind=JobKind.PROBE, message=message)


def test_merged_record_has_the_highest_peaks_and_the_sum_of_host_bytes(tmp_path: Path) -> None:
    """GPUs are filled one by one, the host's memory by all ranks together."""
    other = changed(OK, peak_allocated_bytes=75, process_bytes=85, host_bytes=1200, pinned_bytes=7)
    found = merged(tmp_path, OK, other)
    assert found is not None
    assert found.status is Status.OK
    assert found.message == ""
    assert (found.memory.peak_allocated_bytes, found.memory.peak_reserved_bytes) == (75, 80)
    memory = found.memory
    assert (memory.process_bytes, memory.host_bytes, memory.pinned_bytes) == (90, 2200, 12)
    assert found.processes[1] == ProcessMemory(
        process=1,
        memory=MeasuredMemory(
            peak_allocated_bytes=75,
            peak_reserved_bytes=80,
            process_bytes=85,
            host_bytes=1200,
            pinned_bytes=7,
        ),
    )


def test_merged_record_passes_over_what_a_rank_does_not_know(tmp_path: Path) -> None:
    """One rank's known bytes are better than none; nobody's stay unknown."""
    silent = changed(OK, process_bytes=None, host_bytes=None, pinned_bytes=None)
    found = merged(tmp_path, changed(OK, pinned_bytes=None), silent)
    assert found is not None
    memory = found.memory
    assert (memory.process_bytes, memory.host_bytes, memory.pinned_bytes) == (90, 1000, None)


WORST = [
    ((Status.OK, Status.STOPPED), Status.STOPPED),
    ((Status.STOPPED, Status.CRASHED), Status.CRASHED),
    ((Status.CRASHED, Status.DEVICE_OOM), Status.DEVICE_OOM),
    ((Status.HOST_OOM, Status.CRASHED), Status.HOST_OOM),
    ((Status.PEER_LOST, Status.CRASHED), Status.CRASHED),
    ((Status.PEER_LOST, Status.DIVERGED), Status.DIVERGED),
    ((Status.STOPPED, Status.PEER_LOST), Status.PEER_LOST),
    ((Status.OK, Status.OK), Status.OK),
]


@pytest.mark.parametrize(("statuses", "expected"), WORST)
def test_worst_end_of_all_ranks_is_the_run_s(
    tmp_path: Path, statuses: tuple[Status, Status], expected: Status
) -> None:
    """A run went well only if all its ranks did."""
    found = merged(tmp_path, *(ended(status) for status in statuses))
    assert found is not None
    assert found.status is expected


def test_cause_is_named_with_its_rank_and_not_what_followed_of_it(tmp_path: Path) -> None:
    """The rank that broke the connection is told of before the one that lost it."""
    lost = ended(Status.PEER_LOST, "lost the other ranks: RuntimeError: Connection closed by peer")
    found = merged(tmp_path, lost, ended(Status.CRASHED, "KeyError: 'x'"))
    assert found is not None
    assert (found.process, found.message) == (1, "rank 1: KeyError: 'x'")


def test_rank_without_a_record_is_named_beside_the_cause(tmp_path: Path) -> None:
    """What a dead rank took with it is told along with the reason that another gave."""
    found = merged(tmp_path, None, ended(Status.DEVICE_OOM, "The GPU ran out of memory."))
    assert found is not None
    assert found.message == "rank 1: The GPU ran out of memory. (rank 0 left no record)"


@pytest.mark.parametrize(
    "record",
    [OK, ended(Status.STOPPED), ended(Status.PEER_LOST, "lost the other ranks: it is gone")],
    ids=["ok", "stopped", "lost"],
)
def test_run_that_lost_a_rank_has_no_record_of_its_own(tmp_path: Path, record: Record) -> None:
    """Without the lost rank's word, how its process ended decides, not the others' records."""
    assert merged(tmp_path, record, None) is None
    assert missing_ranks(tmp_path, 2) == [1]


def test_half_a_record_counts_as_none(tmp_path: Path) -> None:
    """A rank killed while it wrote is a rank without a record."""
    leave(tmp_path, 0, OK)
    record_file(tmp_path, 1).write_text('{"status": "ok", "kin')
    assert merged_record(tmp_path, 2) is None
    remove_records(tmp_path, 2)
    assert missing_ranks(tmp_path, 2) == [0, 1]


def test_one_rank_s_record_is_the_run_s_as_it_is(tmp_path: Path) -> None:
    """A run of one process is not told as rank 0."""
    assert merged(tmp_path, ended(Status.CRASHED, "boom")) == ended(Status.CRASHED, "boom")


def test_one_process_is_started_as_it_is_and_several_under_torchrun() -> None:
    """Torchrun starts as many as the plan has ranks, and never again."""
    assert worker_command(HardwareSettings(), ["a.json", "b.json"]) == [
        sys.executable,
        *("-m", "tsplanner.training.worker", "a.json", "b.json"),
    ]
    assert worker_command(from_flat(HardwareSettings, world_size=4), ["a.json"]) == [
        sys.executable,
        *("-m", "torch.distributed.run", "--standalone", "--max-restarts", "0"),
        *("--nproc-per-node", "4", "-m", "tsplanner.training.worker", "a.json"),
    ]


def gpu(number: int, name: str = "H200") -> Device:
    """A GPU with a UUID that shows its number."""
    return Device(
        name=name,
        total_bytes=141 * 2**30,
        free_bytes=139 * 2**30,
        compute_capability=(9, 0),
        uuid=f"GPU-{number}",
    )


def gpus(count: int, *, detected: bool = True) -> Machine:
    """A machine of several GPUs."""
    devices = tuple(gpu(number) for number in range(count))
    return replace(tiny.machine(), devices=devices, detected=detected)


def plan(folder: Path, machine: Machine, **hardware: object) -> Plan:
    """The tiny plan for GPUs."""
    found = tiny.with_hardware(tiny.plan(folder), accelerator="cuda", **hardware)
    return replace(found, machine=machine)


def visible(plan: Plan, outside: dict[str, str] | None = None) -> str | None:
    """What the worker of a plan would see."""
    return device_environment(plan, outside or {}).get("CUDA_VISIBLE_DEVICES")


def test_worker_sees_the_gpus_that_were_planned_by_their_uuids(tmp_path: Path) -> None:
    """Picked GPUs stay the same ones, whatever is visible outside."""
    machine = gpus(4)
    assert visible(plan(tmp_path, machine, world_size=2, devices=(1, 3))) == "GPU-1,GPU-3"
    assert visible(plan(tmp_path, machine), {"CUDA_VISIBLE_DEVICES": "3"}) == "GPU-0"


def test_plan_for_all_gpus_goes_by_their_order(tmp_path: Path) -> None:
    """Such a plan runs on a machine of the same kind, too."""
    found = plan(tmp_path, gpus(2), world_size=2)
    assert visible(found) == "0,1"
    assert visible(found, {"CUDA_VISIBLE_DEVICES": "GPU-7, 5,6"}) == "GPU-7,5"


def test_plan_for_a_described_machine_sees_as_many_gpus_as_it_uses(tmp_path: Path) -> None:
    """One process that saw two GPUs would spread its batches over both."""
    found = plan(tmp_path, gpus(2, detected=False))
    assert visible(found) == "0"
    assert visible(found, {"CUDA_VISIBLE_DEVICES": "3,4"}) == "3"
    assert visible(plan(tmp_path, gpus(2, detected=False), devices=(1,))) == "1"


def test_cpu_plan_is_told_of_no_gpu(tmp_path: Path) -> None:
    """Training on the CPU leaves the GPUs' names alone."""
    found = replace(plan(tmp_path, gpus(2)), hardware=HardwareSettings(accelerator="cpu"))
    assert device_environment(found) == {}
    assert worker_devices(found, gpus(2)) == ()


def test_gpus_of_the_ranks_are_found_on_the_machine_of_now(tmp_path: Path) -> None:
    """By UUID where they were picked, by order where all are used, and missed where they hide."""
    here = gpus(4)
    picked = plan(tmp_path, gpus(4), world_size=2, devices=(1, 3))
    assert [device.uuid for device in worker_devices(picked, here)] == ["GPU-1", "GPU-3"]
    everything = plan(tmp_path, gpus(2), world_size=2)
    assert [device.uuid for device in worker_devices(everything, here)] == ["GPU-0", "GPU-1"]
    with pytest.raises(TsplannerError, match=r"GPU-3 is not visible here.*tsplanner plan"):
        worker_devices(picked, gpus(2))
    with pytest.raises(TsplannerError, match=r"uses GPU 1 .*and 1 are visible"):
        worker_devices(everything, gpus(1))
    assert worker_devices(everything, gpus(0)) == ()
