"""How a worker is started: its command, and the GPUs that it sees."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.device import Device, Machine
from memory_models.settings import from_flat
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.launch import cpu_threads, device_environment, worker_command, worker_devices


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


def test_a_small_model_has_one_thread_and_a_large_one_shares_the_cores(tmp_path: Path) -> None:
    """Two cores for a model of 0.1 M parameters: one; for 1 B: two, or one per process of two."""
    plan = tiny.plan(tmp_path)
    assert cpu_threads(plan) == 1
    large = replace(plan, model=replace(plan.model, parameters_total=1_000_000_000))
    assert cpu_threads(large) == 2
    assert cpu_threads(tiny.with_hardware(large, world_size=2)) == 1
    assert cpu_threads(tiny.with_hardware(large, accelerator="cuda")) is None


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_threads_that_the_plan_names_are_used(tmp_path: Path, accelerator: str) -> None:
    """Whatever the size of the model."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), accelerator=accelerator, cpu_threads=5)
    assert cpu_threads(plan) == 5
