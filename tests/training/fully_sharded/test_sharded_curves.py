"""A base that two processes share out learns what it learns whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from memory_models.settings import (
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Quantization,
)
from tests.support import multi_lora, tiny
from tests.support.chatts_plan import plan as chatts_plan
from tests.training.packing.test_packed_curves import curve, numbers
from tsplanner.planner.plan import Plan
from tsplanner.probe.runner import run_job
from tsplanner.training.job import Job, JobKind, Status

pytestmark = pytest.mark.slow

PADDED = {"micro_batch_size": 1, "gradient_accumulation_steps": 2}
PACKED = {"micro_batch_size": 1, "gradient_accumulation_steps": 2, "token_budget": 64}
ALONE = {"world_size": 1, "fsdp": False}
SHARED = {"world_size": 2, "fsdp": True}
FUSED = {"decoder_kernels": DecoderKernels.FUSED, "loss_kernel": LossKernel.FUSED}
NF4 = {"quantization": Quantization.NF4, "upcast_unquantized": False}


STEPS = "gradient_accumulation_steps"


def shared(plan: Plan, folder: Path, kind: JobKind = JobKind.TRIAL) -> list[list[float]]:
    """The curve of two processes."""
    folder.mkdir()
    job = Job(kind=kind, plan=plan, folder=str(folder), threads=1)
    record = run_job(job, time_limit_seconds=200)
    assert record.status is Status.OK, record.message
    return numbers(folder)


def same(plan: Plan, folder: Path, settings: dict[str, Any], tolerance: float = 2e-4) -> None:
    """One process with the whole base, and two with half of it each."""
    alone = {**settings, **ALONE, "gradient_accumulation_steps": 2 * settings[STEPS]}
    expected = curve(tiny.with_hardware(plan, **alone), folder / "alone")
    found = shared(tiny.with_hardware(plan, **settings, **SHARED), folder / "shared")
    assert len(expected[0]) > 2
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=tolerance)


def saves_what_a_whole_base_saves(plan: Plan, alone: Plan, folder: Path) -> None:
    """A full run of two processes, and its end once more after the last checkpoint went."""
    shared(plan, folder / "run", JobKind.TRAIN)
    first = load_file(folder / "run" / "adapter" / "adapter_model.safetensors")
    whole = folder / "whole"
    whole.mkdir()
    record = multi_lora.run_here(Job(kind=JobKind.TRAIN, plan=alone, folder=str(whole)))
    assert record.status is Status.OK, record.message
    expected = load_file(whole / "adapter" / "adapter_model.safetensors")
    assert first.keys() == expected.keys()
    for name, each in first.items():
        assert torch.allclose(each, expected[name], atol=2e-4), name
    made = (folder / "run" / "checkpoints").iterdir()
    shutil.rmtree(max(made, key=lambda each: each.stat().st_mtime))
    again = Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder / "run"), threads=1, resume=True)
    record = run_job(again, time_limit_seconds=200)
    assert record.status is Status.OK, record.message
    second = load_file(folder / "run" / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(each, first[name]) for name, each in second.items())


@pytest.mark.parametrize("settings", [{}, NF4], ids=["whole", "nf4"])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_two_processes_that_share_the_base_learn_what_one_learns(
    tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    """Padded rows without checkpoints and with the reference kernels."""
    plan = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=FinetuningType(method))
    same(plan, tmp_path, {**PADDED, **settings})


@pytest.mark.parametrize("settings", [{}, NF4], ids=["whole", "nf4"])
def test_fifty_steps_learn_the_same(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Embedding and head are shared out by rows, and packed rows have unequally many labels."""
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=10)
    same(plan, tmp_path, {**PACKED, **FUSED, **settings})
    assert len(numbers(tmp_path / "shared")[0]) == 50


def test_packed_rows_on_a_4_bit_base_learn_the_same(tmp_path: Path) -> None:
    """The rows of one process may need more passes than those of the other."""
    same(tiny.plan(tmp_path), tmp_path, {**PACKED, **NF4, **FUSED, "gradient_checkpointing": True})


def test_compiled_kernels_read_the_weights_that_were_gathered(tmp_path: Path) -> None:
    """They run in half precision, on a model whose linears of queries, keys and values have biases.

    An order of sums moves a loss by as much as bf16 rounds.
    """
    half = {"model_dtype": Dtype.BF16, "autocast": Dtype.BF16}
    compiled = {**FUSED, **half, "decoder_kernels": DecoderKernels.COMPILED}
    same(tiny.plan(tmp_path), tmp_path, {**PADDED, **compiled}, 2e-2)


def test_a_model_of_series_learns_the_same(tmp_path: Path) -> None:
    """ChatTS' encoder stays whole."""
    plan = chatts_plan(tmp_path, validation_fraction=0.25, effective_batch_size=2)
    settings = {"micro_batch_size": 1, STEPS: 1, "loss_kernel": LossKernel.FUSED}
    same(plan, tmp_path, settings, 2e-3)


def test_a_run_goes_on_from_its_checkpoint_and_saves_what_a_whole_base_saves(
    tmp_path: Path,
) -> None:
    """The last checkpoint is taken away; the adapter that the rest of the run makes is the same."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), **PADDED, **SHARED)
    alone = tiny.with_hardware(plan, **{**PADDED, **ALONE, STEPS: 4})
    saves_what_a_whole_base_saves(plan, alone, tmp_path)
