"""A copy of the base on each of two machines, for which two launchers stand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import (
    DecoderKernels,
    FinetuningType,
    LossKernel,
    Quantization,
    Sharding,
    effective_settings,
)
from memory_models.sharding.fully_sharded import other_slices_bytes
from memory_models.sharding.states import model_states
from memory_models.states.weights import base_weight_bytes
from tests.support import tiny
from tests.support.two_hosts import run_on_two_hosts
from tests.training.packing.test_packed_curves import curve, numbers
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import write_plan
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import training_settings
from tsplanner.probe.runner import prepare
from tsplanner.training import distributed
from tsplanner.training.fully_sharded.sharers import Sharers
from tsplanner.training.job import Job, JobKind

FOUR = {"world_size": 4, "nodes": 2, "fsdp": True, "gradient_accumulation_steps": 1}
PER_HOST = {**FOUR, "fsdp_per_host": True}
FUSED = {"decoder_kernels": DecoderKernels.FUSED, "loss_kernel": LossKernel.FUSED}
NF4 = {"quantization": Quantization.NF4, "upcast_unquantized": False}


def on_four(folder: Path, **settings: Any) -> Plan:
    """The tiny plan at its effective batch of 4, a row per process."""
    return tiny.with_hardware(tiny.plan(folder), micro_batch_size=1, **settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [FUSED, {**FUSED, **NF4, "token_budget": 64}],
    ids=["padded", "nf4, packed"],
)
def test_two_machines_with_a_copy_each_learn_what_one_process_learns(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Four processes gather from their neighbour alone, and DDP averages over all of them."""
    shared = on_four(tmp_path, **settings, **PER_HOST)
    alone = tiny.with_hardware(
        shared,
        world_size=1,
        nodes=1,
        fsdp=False,
        fsdp_per_host=False,
        gradient_accumulation_steps=4,
    )
    expected = curve(alone, tmp_path / "alone")
    job = Job(kind=JobKind.TRIAL, plan=shared, folder=str(tmp_path / "run"), threads=1)
    (tmp_path / "run").mkdir()
    prepare(job)
    file = str(tmp_path / "run" / "job.json")
    run_on_two_hosts(["tsplanner.training.worker", file], tmp_path, each=2)
    found = numbers(tmp_path / "run")
    assert len(expected[0]) > 2
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "slices"), [(PER_HOST, 2), (FOUR, 4)])
def test_a_process_holds_what_the_formula_counts(
    tmp_path: Path, settings: dict[str, Any], slices: int
) -> None:
    """A half or a quarter of the base; the formula rounds each of 39 weights up to 512 bytes."""
    plan = on_four(tmp_path, loss_kernel=LossKernel.FUSED, **settings)
    assert plan.hardware.sharding.slices == slices
    states = effective_settings(training_settings(plan.learning, plan.hardware, 12)).states
    whole = base_weight_bytes(plan.architecture, states)
    foretold = whole - other_slices_bytes(plan.architecture, states)
    file = tmp_path / "sliced.json"
    write_plan(plan, file)
    text = run_on_two_hosts(["tests.support.sliced_run", str(file)], tmp_path, each=2)
    (line,) = (each for each in text.splitlines() if each.startswith('{"bytes"'))
    found = json.loads(line)["bytes"]
    assert 0 <= foretold - found <= 39 * 512
    assert found == pytest.approx(whole / slices, rel=0.1)


@pytest.mark.slow
def test_a_process_holds_its_part_of_what_is_trained(tmp_path: Path) -> None:
    """A quarter of weights and moments, all of the model being trained, over two machines."""
    plan = tiny.with_learning(on_four(tmp_path, **FOUR), finetuning_type=FinetuningType.FULL)
    states = effective_settings(training_settings(plan.learning, plan.hardware, 12)).states
    foretold = model_states(plan.architecture, states)
    file = tmp_path / "trained.json"
    write_plan(plan, file)
    text = run_on_two_hosts(["tests.support.sliced_run", str(file)], tmp_path, each=2)
    (line,) = (each for each in text.splitlines() if each.startswith('{"bytes"'))
    found = json.loads(line)
    assert 0 <= foretold.weights - found["bytes"] <= 39 * 512
    assert 0 <= foretold.states - found["states"] <= 2 * 39 * 512


def test_a_plan_per_host_asks_for_its_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on each of two machines; four on one would gather across the plan's slices."""
    plan = Sharding(world_size=4, nodes=2, fsdp=True, fsdp_per_host=True)
    hardware = replace(_hardware(), sharding=plan)
    for name, value in (("WORLD_SIZE", "4"), ("RANK", "3"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    distributed.check_world_size(hardware)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(TsplannerError, match="and 4 were started on this one: use torchrun"):
        distributed.check_world_size(hardware)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(TsplannerError, match="--nnodes 2 --nproc-per-node 2"):
        distributed.check_world_size(hardware)


def _hardware() -> Any:
    from memory_models.settings import from_flat
    from tsplanner.planner.settings import HardwareSettings

    return from_flat(HardwareSettings, world_size=4, nodes=2, fsdp=True)


def test_one_process_among_them_needs_no_collective() -> None:
    """It has all rows, and its numbers are the largest."""
    alone = Sharers(0, 1)
    assert alone.own_rows(7) == range(7)
    assert alone.largest([3, 1]) == [3, 1]
