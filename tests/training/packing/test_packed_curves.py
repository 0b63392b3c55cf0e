"""Packed rows learn what padded rows learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import FinetuningType, LossKernel
from tests.support import multi_lora, tiny
from tests.support.chatts_plan import plan as chatts_plan
from tests.training.multi_lora.test_multi_lora_curves import compare
from tsplanner.planner.plan import Plan
from tsplanner.probe.runner import run_job
from tsplanner.runs import read_json_lines
from tsplanner.training.job import Job, JobKind, Status

pytestmark = pytest.mark.slow

PADDED = {"micro_batch_size": 2, "gradient_accumulation_steps": 2}
PACKED = {"micro_batch_size": 1, "gradient_accumulation_steps": 4, "token_budget": 96}


def curve(plan: Plan, folder: Path) -> list[list[float]]:
    """Loss and norm of the gradient of every step, and the held-out losses."""
    folder.mkdir()
    record = multi_lora.run_here(Job(kind=JobKind.TRIAL, plan=plan, folder=str(folder)))
    assert record.status is Status.OK, record.message
    return numbers(folder)


def numbers(folder: Path) -> list[list[float]]:
    """The same of a run that has ended."""
    lines = read_json_lines(folder / "metrics.jsonl")
    return [
        [float(str(line[key])) for line in lines if key in line]
        for key in ("loss", "grad_norm", "eval_loss")
    ]


def same(plan: Plan, folder: Path, packed: dict[str, Any], padded: dict[str, Any]) -> None:
    """Both layouts, with the same other settings."""
    expected = curve(tiny.with_hardware(plan, **padded), folder / "padded")
    found = curve(tiny.with_hardware(plan, **packed), folder / "packed")
    assert len(expected[0]) > 2
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize(
    "hardware",
    [{}, {"gradient_checkpointing": True}, {"loss_kernel": LossKernel.FUSED}],
    ids=["plain", "checkpointed", "fused loss"],
)
@pytest.mark.parametrize("method", ["lora", "dora", "full", "freeze", "adalora"])
def test_a_step_of_packed_rows_is_the_step_of_padded_rows(
    tmp_path: Path, method: str, hardware: dict[str, Any]
) -> None:
    """Four rows of 10 to 60 tokens in passes of 96; eighteen rows are no multiple of four."""
    plan = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=FinetuningType(method))
    same(plan, tmp_path, {**PACKED, **hardware}, {**PADDED, **hardware})


def test_packed_series_find_the_places_of_their_rows(tmp_path: Path) -> None:
    """ChatTS counts positions after its patches have taken their places."""
    plan = chatts_plan(tmp_path, validation_fraction=0.25)
    padded = {"micro_batch_size": 2, "gradient_accumulation_steps": 1}
    same(plan, tmp_path, {"gradient_accumulation_steps": 2, "token_budget": 2000}, padded)


def test_packed_rows_of_a_mixture_of_experts(tmp_path: Path) -> None:
    """Routers see the same tokens, whatever lies beside them."""
    shape = {
        "model_type": "qwen3_moe",
        "architectures": ["Qwen3MoeForCausalLM"],
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "head_dim": 8,
    }
    plan = tiny.plan(tmp_path)
    config = {**tiny.CONFIG, **shape}
    model = replace(plan.model, model_type="qwen3_moe", config=config, path=None, has_weights=False)
    plan = replace(plan, model=replace(model, tokenizer=plan.model.path))
    same(plan, tmp_path, PACKED, PADDED)


def test_two_ranks_pack_the_rows_of_a_step_between_them(tmp_path: Path) -> None:
    """Ranks make as many passes as their own rows need, and join their gradients once."""
    plan = tiny.plan(tmp_path)
    expected = curve(tiny.with_hardware(plan, **PADDED), tmp_path / "padded")
    two = {**PACKED, "world_size": 2, "gradient_accumulation_steps": 2}
    folder = tmp_path / "two"
    folder.mkdir()
    job = Job(
        kind=JobKind.TRIAL, plan=tiny.with_hardware(plan, **two), folder=str(folder), threads=1
    )
    record = run_job(job, time_limit_seconds=200)
    assert record.status is Status.OK, record.message
    for found, wanted in zip(numbers(folder), expected, strict=True):
        assert found == pytest.approx(wanted, abs=2e-4)


def test_packed_rows_of_sliding_windows(tmp_path: Path) -> None:
    """A window of eight tokens ends at the row's own start, too."""
    shape = {
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "sliding_window": 8,
        "head_dim": 8,
    }
    plan = tiny.plan(tmp_path)
    config = {**tiny.CONFIG, **shape}
    model = replace(plan.model, model_type="mistral", config=config, path=None, has_weights=False)
    plan = replace(plan, model=replace(model, tokenizer=plan.model.path))
    same(plan, tmp_path, PACKED, PADDED)


@pytest.mark.parametrize(
    "hardware", [{}, {"loss_kernel": LossKernel.FUSED}], ids=["plain", "fused"]
)
def test_packed_trials_on_one_base_learn_what_they_learn_alone(
    tmp_path: Path, hardware: dict[str, Any]
) -> None:
    """Three unlike trials in one sequence; each fills passes of its own rows."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), **PACKED, **hardware)
    compare(plan, multi_lora.trials(plan), tmp_path, 1e-5)


def test_packed_trials_with_series_share_a_base(tmp_path: Path) -> None:
    """Patches make the parts of a sequence unequal, and padding makes them equal again."""
    plan = chatts_plan(tmp_path, validation_fraction=0.25, timeseries_lr=None)
    packed = {"gradient_accumulation_steps": 2, "token_budget": 300}
    plan = tiny.with_hardware(plan, **packed)
    compare(plan, multi_lora.trials(plan, multi_lora.UNLIKE[:2]), tmp_path, 1e-5)
