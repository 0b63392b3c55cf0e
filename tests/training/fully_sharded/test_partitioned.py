"""A 4-bit base whose parts DeepSpeed leaves on two processes learns what it learns whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from transformers.integrations import deepspeed

from memory_models.settings import FinetuningType, LossKernel, Quantization, from_flat
from tests.support import tiny
from tests.support.chatts_plan import plan as chatts_plan
from tests.training.fully_sharded.test_sharded_curves import saves_what_a_whole_base_saves, shared
from tests.training.packing.test_packed_curves import curve, numbers
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import HardwareSettings
from tsplanner.training.fully_sharded import partitioned
from tsplanner.training.fully_sharded.partitioned import without_deepspeed

ALONE = {"world_size": 1, "micro_batch_size": 2, "gradient_accumulation_steps": 2}
TWO = {**ALONE, "world_size": 2, "zero_stage": 3, "micro_batch_size": 1}
NF4 = {"quantization": Quantization.NF4, "upcast_unquantized": False}
LEAN = {"gradient_checkpointing": True, "loss_kernel": LossKernel.FUSED}


@pytest.fixture
def _deepspeed_on_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("deepspeed")
    pytest.importorskip("bitsandbytes")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")


@pytest.mark.parametrize("form", [*Quantization, None])
def test_4_bit_bases_alone_are_partitioned_packed(form: Quantization | None) -> None:
    """NF4 and NF4-DQ, and only under ZeRO-3."""
    packed = form in (Quantization.NF4, Quantization.NF4_DQ)
    for stage in (2, 3):
        hardware = from_flat(HardwareSettings, zero_stage=stage, world_size=2, quantization=form)
        assert hardware.partitions_packed is (packed and stage == 3)


def test_what_builds_a_model_does_not_see_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It sees it again afterwards, come what may."""
    monkeypatch.setattr(deepspeed, "_hf_deepspeed_config_weak_ref", None)
    config = HeldConfig()
    arguments = SimpleNamespace(hf_deepspeed_config=config)
    deepspeed.set_hf_deepspeed_config(config)

    def fails() -> None:
        with without_deepspeed(arguments):
            assert not deepspeed.is_deepspeed_zero3_enabled()
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fails()
    assert deepspeed.is_deepspeed_zero3_enabled()


class HeldConfig:
    """A configuration of ZeRO-3."""

    def is_zero3(self) -> bool:
        """As transformers asks."""
        return True


def same(plan: Plan, folder: Path, settings: dict[str, Any], tolerance: float = 2e-4) -> None:
    """Curve and held-out losses of one process with the whole base, and of two with parts of it."""
    expected = curve(tiny.with_hardware(plan, **{**ALONE, **settings}), folder / "alone")
    found = shared(tiny.with_hardware(plan, **{**TWO, **settings}), folder / "parts")
    assert len(expected[0]) > 2
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=tolerance)


@pytest.mark.slow
@pytest.mark.usefixtures("_deepspeed_on_cpus")
def test_fifty_steps_learn_the_same(tmp_path: Path) -> None:
    """In fp32, so that only the order of sums differs."""
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=10)
    same(plan, tmp_path, NF4)
    assert len(numbers(tmp_path / "parts")[0]) == 50


@pytest.mark.slow
@pytest.mark.usefixtures("_deepspeed_on_cpus")
def test_checkpoints_and_the_fused_loss_gather_packed_weights_again(tmp_path: Path) -> None:
    """rsLoRA, with double quantisation."""
    plan = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=FinetuningType.RSLORA)
    same(plan, tmp_path, {**NF4, **LEAN, "quantization": Quantization.NF4_DQ})


@pytest.mark.slow
@pytest.mark.usefixtures("_deepspeed_on_cpus")
def test_a_model_of_series_learns_the_same(tmp_path: Path) -> None:
    """The linears of ChatTS' encoder are packed as well."""
    plan = chatts_plan(tmp_path, validation_fraction=0.25, effective_batch_size=2)
    once = {"gradient_accumulation_steps": 1, "loss_kernel": LossKernel.FUSED}
    same(plan, tmp_path, {**NF4, **once}, 2e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("_deepspeed_on_cpus")
def test_a_run_goes_on_from_its_checkpoint_and_saves_what_a_whole_base_saves(
    tmp_path: Path,
) -> None:
    """On random weights; without its last checkpoint a run ends with the same adapter."""
    drawn = tiny.plan(tmp_path)
    drawn = replace(drawn, model=replace(drawn.model, has_weights=False))
    plan = tiny.with_hardware(drawn, **NF4, **TWO)
    saves_what_a_whole_base_saves(plan, tiny.with_hardware(drawn, **NF4, **ALONE), tmp_path)


def test_a_packed_weight_is_let_go_of_between_forward_and_backward() -> None:
    """As DeepSpeed does it: other bytes are put behind the weight, and again for backward."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    linear = bitsandbytes.nn.Linear4bit(64, 48, quant_type="nf4", compute_dtype=torch.float32)
    linear.to("cpu")  # packs
    expected = torch.randn(3, 5, 64, requires_grad=True)
    linear(expected).square().sum().backward()
    rows = expected.detach().clone().requires_grad_()
    partitioned.multiply_gathered(linear)
    whole = linear.weight.data
    held = StorageWeakRef(whole.untyped_storage())
    kept = whole.clone()
    result = linear(rows).square().sum()
    linear.weight.data = torch.empty(0, dtype=torch.uint8)
    del whole
    assert held.expired()
    linear.weight.data = kept
    result.backward()
    assert torch.allclose(rows.grad, expected.grad, rtol=1e-5, atol=1e-5)
