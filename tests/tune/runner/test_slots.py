"""How many trials run at once, and on which GPUs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.device import Device, Machine
from memory_models.result import Interval
from tests.support import tiny
from tsplanner.planner.plan import Plan
from tsplanner.tune.runner.slots import Slots, choose_slots

GIB = 2**30


def gpu(number: int, free_gib: int = 22, name: str = "RTX 3090") -> Device:
    """A GPU of 24 GiB."""
    return Device(
        name=name,
        total_bytes=24 * GIB,
        free_bytes=free_gib * GIB,
        compute_capability=(8, 6),
        uuid=f"GPU-{number}",
    )


def machine(*devices: Device, host_gib: int = 100) -> Machine:
    """A machine with these GPUs."""
    host = replace(tiny.machine().host, available_bytes=host_gib * GIB, total_bytes=128 * GIB)
    return replace(tiny.machine(), devices=devices, host=host)


def plan(folder: Path, here: Machine, **hardware: object) -> Plan:
    """Up to 14 GiB of a GPU and 6 GiB of RAM."""
    base = tiny.with_hardware(tiny.plan(folder), accelerator="cuda", **hardware)
    memory = replace(
        base.memory,
        process_bytes=Interval(expected=12 * GIB, upper=14 * GIB),
        host_bytes=Interval(expected=4 * GIB, upper=6 * GIB),
    )
    return replace(base, machine=here, memory=memory, free_bytes=22 * GIB)


def test_trials_of_one_gpu_are_spread_over_all_that_are_alike(tmp_path: Path) -> None:
    """Each slot has a GPU of its own, by UUID, the plan's own first."""
    here = machine(gpu(0), gpu(1), gpu(2))
    found = choose_slots(plan(tmp_path, here, devices=(1,)), trials=8)
    assert found == Slots(jobs=3, devices=("GPU-1", "GPU-0", "GPU-2"))
    assert found.environment(2) == {"CUDA_VISIBLE_DEVICES": "GPU-2"}
    assert found.environment(3) == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
    assert choose_slots(plan(tmp_path, here), trials=2).jobs == 2
    fuller = machine(gpu(0), gpu(1, free_gib=15), gpu(2))
    assert choose_slots(plan(tmp_path, here), here=fuller, trials=8).free_bytes == 15 * GIB


def test_gpu_that_is_full_or_of_another_kind_gets_no_trial(tmp_path: Path) -> None:
    """A slower or a busy card would decide what the others are compared by."""
    here = machine(gpu(0), gpu(1, free_gib=13), gpu(2, name="RTX 2080 Ti"), gpu(3))
    found = choose_slots(plan(tmp_path, machine(gpu(0), gpu(1))), here=here, trials=8)
    assert found == Slots(jobs=2, devices=("GPU-0", "GPU-3"))


def test_one_gpu_is_left_to_the_plan(tmp_path: Path) -> None:
    """With one GPU that will do, the plan's own choice stands; so it does without a driver."""
    here = machine(gpu(0), gpu(1, free_gib=2))
    found = choose_slots(plan(tmp_path, here), trials=8)
    assert found == Slots(jobs=1)
    assert found.environment(0) is None
    assert choose_slots(plan(tmp_path, here), here=machine(), trials=8) == Slots(jobs=1)


def test_host_memory_limits_how_many_trials_run_at_once(tmp_path: Path) -> None:
    """Three GPUs, but RAM for two trials of 6 GiB."""
    here = machine(gpu(0), gpu(1), gpu(2), host_gib=13)
    assert choose_slots(plan(tmp_path, here), trials=8).jobs == 2


def test_trial_of_several_ranks_has_the_machine_to_itself(tmp_path: Path) -> None:
    """Trials of two GPUs run one at a time, whatever was asked for."""
    here = machine(gpu(0), gpu(1), gpu(2), gpu(3))
    assert choose_slots(plan(tmp_path, here, world_size=2), jobs=2, trials=8) == Slots(jobs=1)
    on_cpu = tiny.with_hardware(tiny.plan(tmp_path), world_size=2)
    assert choose_slots(on_cpu, trials=8) == Slots(jobs=1, threads=1)


@pytest.mark.parametrize(("jobs", "expected"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_trials_that_share_a_gpu_are_counted(jobs: int, expected: int) -> None:
    """Three trials on two GPUs: two of them share one, and its memory."""
    assert Slots(jobs=jobs, devices=("GPU-0", "GPU-1")).trials_per_device == expected
    assert Slots(jobs=jobs).trials_per_device == jobs


def test_cpu_runs_as_many_trials_as_memory_affords_now(tmp_path: Path) -> None:
    """Two cores, but RAM for one trial of 900 MiB: one trial with both cores."""
    on_cpu = tiny.plan(tmp_path)
    assert choose_slots(on_cpu, here=machine(host_gib=1), trials=8) == Slots(jobs=1, threads=2)
    assert choose_slots(on_cpu, here=machine(host_gib=2), trials=8) == Slots(jobs=2, threads=1)


def test_cpu_runs_as_many_trials_as_cores_and_memory_allow(tmp_path: Path) -> None:
    """Two cores: two trials of one thread; memory for one: one trial with both."""
    plan = tiny.plan(tmp_path)
    assert choose_slots(plan, trials=8) == Slots(jobs=2, threads=1)
    assert choose_slots(plan, trials=1) == Slots(jobs=1, threads=2)
    assert choose_slots(replace(plan, free_bytes=2**30), trials=8) == Slots(jobs=1, threads=2)


def test_trials_have_the_threads_that_the_plan_names(tmp_path: Path) -> None:
    """Two cores: one trial of two threads, unless more trials are asked for."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), cpu_threads=2)
    assert choose_slots(plan, trials=8) == Slots(jobs=1, threads=2)
    assert choose_slots(plan, trials=8, jobs=2) == Slots(jobs=2, threads=2)
    several = tiny.with_hardware(plan, world_size=2)
    assert choose_slots(several, trials=8) == Slots(jobs=1, threads=2)
