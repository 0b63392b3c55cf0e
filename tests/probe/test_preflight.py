"""Before a worker is started: is the memory that the plan counted on still free?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.device import Device, DeviceProcess, Host, Machine
from memory_models.result import Interval
from memory_models.settings import changed
from tests.planner.space.test_streamed_layers import ELEVEN
from tests.support import tiny
from tests.support.rig import TURING
from tests.support.toy_request import request
from tsplanner.errors import EXIT_FAILURE, TsplannerError
from tsplanner.hardware import nvml
from tsplanner.planner.gather.inputs import seen_file
from tsplanner.planner.plan import Plan, no_dataset
from tsplanner.planner.rank import choose
from tsplanner.planner.replan import needs_of_processes, own_process
from tsplanner.planner.request import Pins
from tsplanner.probe.preflight import (
    device_shortage,
    free_now,
    refuse_random_weights,
    refuse_several_machines,
    refuse_what_has_no_room,
    require_room,
)

GIB = 2**30


def gpu(number: int, free_gib: float, *processes: DeviceProcess) -> Device:
    """A GPU of 24 GiB."""
    return Device(
        name="RTX 3090",
        total_bytes=24 * GIB,
        free_bytes=int(free_gib * GIB),
        compute_capability=(8, 6),
        processes=processes,
        uuid=f"GPU-{number}",
    )


def machine(*devices: Device, host_gib: float = 60, limited_by: str = "host") -> Machine:
    """A machine with these GPUs and so much RAM free of 64 GiB."""
    host = Host(
        total_bytes=64 * GIB,
        available_bytes=int(host_gib * GIB),
        cpu_count=8,
        memory_limited_by=limited_by,
    )
    return Machine(name="rig", devices=devices, host=host)


def plan(folder: Path, *, ranks: int = 1, devices: tuple[int, ...] = ()) -> Plan:
    """12 to 14 GiB a GPU, 4 to 6 of RAM, made on two idle GPUs with 22 GiB free each."""
    base = tiny.with_hardware(
        tiny.plan(folder), accelerator="cuda", world_size=ranks, devices=devices
    )
    memory = replace(
        base.memory,
        process_bytes=Interval(expected=12 * GIB, upper=14 * GIB),
        host_bytes=Interval(expected=4 * GIB, upper=6 * GIB),
    )
    then = machine(gpu(0, 22), gpu(1, 22))
    return replace(base, machine=then, memory=memory, free_bytes=22 * GIB)


def test_machine_as_it_was_planned_for_has_room(tmp_path: Path) -> None:
    """Nothing changed, or only what the plan does not need: it starts."""
    assert require_room(plan(tmp_path, ranks=2), machine(gpu(0, 22), gpu(1, 14)))
    assert require_room(plan(tmp_path), machine(gpu(0, 22), gpu(1, 1)))


def test_gpu_that_another_process_has_filled_is_refused_by_name(tmp_path: Path) -> None:
    """What, how much, which GPU, who holds it and what to do, in one sentence with status 1."""
    held = DeviceProcess(pid=4711, name="python", used_bytes=9 * GIB)
    with pytest.raises(TsplannerError) as refused:
        require_room(plan(tmp_path, ranks=2), machine(gpu(0, 22), gpu(1, 13, held)))
    assert str(refused.value) == (
        "GPU 1 (RTX 3090) has 13.0 GiB free and the plan needs 14.0 (it was made with 22.0 free): "
        "end what uses it (python 4711: 9.0 GiB), make another plan with tsplanner plan, or go on "
        "all the same with --force."
    )
    assert refused.value.exit_status == EXIT_FAILURE


def test_gpu_is_looked_at_where_the_plan_put_it(tmp_path: Path) -> None:
    """A plan for the second GPU does not care who fills the first."""
    full_first = machine(gpu(0, 1), gpu(1, 22))
    assert require_room(plan(tmp_path, devices=(1,)), full_first)
    with pytest.raises(TsplannerError, match=r"GPU 0 .* has 1\.0 GiB free"):
        require_room(plan(tmp_path), full_first)


def test_tight_plan_is_held_to_what_it_expects(tmp_path: Path) -> None:
    """A plan whose bound never fitted was accepted so; only less than expected stops it."""
    tight = replace(plan(tmp_path), free_bytes=13 * GIB)
    assert require_room(tight, machine(gpu(0, 12.5)))
    with pytest.raises(TsplannerError, match=r"11\.5 GiB free and the plan needs 12\.0"):
        require_room(tight, machine(gpu(0, 11.5), gpu(1, 22)))


def test_force_goes_on_but_not_without_the_gpu(tmp_path: Path) -> None:
    """Too little memory may be tried; a GPU that is not there cannot."""
    assert require_room(plan(tmp_path), machine(gpu(0, 1), gpu(1, 1)), force=True)
    with pytest.raises(TsplannerError, match="GPU-0 is not visible here"):
        require_room(plan(tmp_path), machine(gpu(5, 22)), force=True)


def test_host_memory_under_a_tighter_limit_is_refused(tmp_path: Path) -> None:
    """Ranks fill the host, too; a container that allows less is named."""
    here = machine(gpu(0, 22), gpu(1, 22), host_gib=5, limited_by="cgroup v2")
    with pytest.raises(TsplannerError) as refused:
        require_room(plan(tmp_path), here)
    assert str(refused.value).startswith(
        "The machine has 5.0 of 64.0 GiB of RAM free, limited by cgroup v2, and the plan needs 6.0 "
        "(it was made with 60.0 free): end what uses it,"
    )
    assert require_room(plan(tmp_path), here, force=True) == here


def test_cpu_plan_needs_its_process_s_bytes_of_ram(tmp_path: Path) -> None:
    """On the CPU the process itself lies in RAM: 900 MiB by the tiny plan's bound."""
    on_cpu = tiny.plan(tmp_path)
    assert require_room(on_cpu, machine(host_gib=1))
    with pytest.raises(TsplannerError, match=r"has 0\.5 of 64\.0 GiB of RAM free, and .* 0\.9 "):
        require_room(on_cpu, machine(host_gib=0.5))


def test_driver_that_says_nothing_is_left_to_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without NVML nobody knows what is free; with CUDA's driver PyTorch may find the GPUs."""
    monkeypatch.setattr(nvml, "_loads", lambda library: True)
    assert require_room(plan(tmp_path), machine())


def test_a_plan_for_gpus_is_refused_where_no_program_can_use_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is forced: no driver, or a variable that hides every GPU; a CPU plan may go on."""
    monkeypatch.setattr(nvml, "_loads", lambda library: False)
    with pytest.raises(TsplannerError, match=r"no GPU to use \(no NVIDIA driver") as refused:
        require_room(plan(tmp_path), machine(), force=True)
    assert "tsplanner export" in str(refused.value)
    assert require_room(tiny.plan(tmp_path / "cpu"), machine())
    monkeypatch.setattr(nvml, "_loads", lambda library: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,0")
    with pytest.raises(TsplannerError, match='CUDA_VISIBLE_DEVICES="0,0" hides every GPU'):
        require_room(plan(tmp_path), machine())


def test_a_plan_without_a_dataset_is_refused_where_rows_are_trained_on(tmp_path: Path) -> None:
    """A probe makes rows of its own; a training has none to go on with."""
    bare = tiny.plan(tmp_path)
    bare = replace(bare, dataset=no_dataset(64))
    with pytest.raises(TsplannerError, match="names no dataset, so there is nothing to train on"):
        refuse_what_has_no_room(bare, machine(), force=True)
    assert require_room(bare, machine())


def test_free_memory_of_now_is_never_more_than_was_planned_with(tmp_path: Path) -> None:
    """A search judges its trials by the smaller of the two."""
    assert free_now(plan(tmp_path), machine(gpu(0, 15), gpu(1, 23))) == 15 * GIB
    assert free_now(plan(tmp_path), machine(gpu(0, 23), gpu(1, 23))) == 22 * GIB
    assert free_now(tiny.plan(tmp_path / "cpu"), machine(host_gib=3)) == 3 * GIB


def test_random_weights_are_refused_unless_they_are_meant(tmp_path: Path) -> None:
    """The sentence says why there are none; a probe of a few steps may go on."""
    found = tiny.plan(tmp_path)
    bare = replace(found, model=replace(found.model, has_weights=False))
    problem = "the weights are there only as pytorch_model.bin, which tsplanner does not read"
    other = replace(bare, model=replace(bare.model, weights_problem=problem))
    refuse_random_weights(found)
    refuse_random_weights(bare, allowed=True)
    with pytest.raises(TsplannerError, match=r"for there are no weights beside config\.json"):
        refuse_random_weights(bare)
    with pytest.raises(TsplannerError, match=r"only as pytorch_model\.bin, which"):
        refuse_what_has_no_room(other, machine())
    assert refuse_what_has_no_room(other, machine(), random_weights=True)
    assert require_room(other, machine())


def test_a_plan_without_a_dataset_is_refused_where_it_would_train(tmp_path: Path) -> None:
    """A probe needs none: it runs the longest batch there can be."""
    found = tiny.plan(tmp_path)
    bare = replace(found, dataset=replace(found.dataset, path=None))
    with pytest.raises(TsplannerError, match="names no dataset, so there is nothing to train on"):
        refuse_what_has_no_room(bare, machine(), force=True)
    assert require_room(bare, machine())


def test_files_that_changed_are_refused_unless_forced(tmp_path: Path) -> None:
    """Train, tune, probe and --join look at them before anything is made."""
    found = tiny.plan(tmp_path, rows=48)
    rows = tmp_path / "rows.jsonl"
    found = replace(found, dataset=replace(found.dataset, seen=seen_file(rows)))
    assert require_room(found, machine())
    tiny.write_dataset(rows, 20)
    says = r"^Since the plan was made rows\.jsonl had 48 rows, now 20: plan again, or go on"
    with pytest.raises(TsplannerError, match=says):
        require_room(found, machine())
    with pytest.raises(TsplannerError, match=says):
        refuse_what_has_no_room(found, machine())
    assert refuse_what_has_no_room(found, machine(), force=True)


def test_a_plan_for_several_machines_is_started_by_a_job_and_not_here(tmp_path: Path) -> None:
    """Whatever --force says: one machine cannot start the others."""
    plan = tiny.plan(tmp_path)
    plan = changed(plan, world_size=2, nodes=2)
    with pytest.raises(TsplannerError, match=r"is for 2 machines: write a job .* export torchrun"):
        refuse_several_machines(plan)
    with pytest.raises(TsplannerError, match="is for 2 machines"):
        require_room(plan, machine(gpu(0, 20)), force=True)


def test_every_gpu_is_held_against_its_own_need_where_they_stream_unlike_numbers() -> None:
    """40 layers on 22 GiB and 48 on 11: either GPU is refused by what it needs itself."""
    pins = Pins(streamed_layers=(40, 48))
    planned = choose(request("qwen2.5-14b", TURING, ELEVEN, length=4096, pins=pins)).plan
    needs = [each.memory.process_bytes for each in needs_of_processes(planned)]
    assert own_process(planned) == 1
    assert planned.memory.process_bytes == needs[1]
    assert planned.free_bytes == ELEVEN.free_bytes

    def here(larger: int, smaller: int) -> Machine:
        devices = (replace(TURING, free_bytes=larger), replace(ELEVEN, free_bytes=smaller))
        return replace(planned.machine, devices=devices)

    enough = here(needs[0].upper, needs[1].upper)
    assert device_shortage(planned, enough) is None
    first = device_shortage(planned, here(needs[0].upper - 1, needs[1].upper))
    assert first is not None
    assert first.startswith("GPU 0 (RTX 2080 Ti) has ")
    assert "(it was made with 21.0 free)" in first
    second = device_shortage(planned, here(needs[0].upper, needs[1].upper - 1))
    assert second is not None
    assert second.startswith("GPU 1 (RTX 2080 Ti 11 GiB) has ")
    # The plan's memory is that of its second process, and so is what it may count on.
    assert free_now(planned, here(5, 9 * GIB)) == 9 * GIB
