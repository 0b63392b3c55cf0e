"""Bases as plans have them: dtypes, packed weights, 8-bit products, and a GPU that is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memory_models.settings import Dtype, Quantization
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.training.adapters import apply_method
from tsplanner.training.base_model.build import build_model, training_device
from tsplanner.training.eight_bit.linear import EightBitLinear


@pytest.mark.parametrize("upcast", [False, True])
def test_unquantised_parts_are_cast_to_fp32_only_where_the_plan_says_so(
    tmp_path: Path, upcast: bool
) -> None:
    """Embeddings, head and norms of an NF4 base in bf16; nothing of the base is trained."""
    plan = tiny.with_hardware(
        tiny.plan(tmp_path),
        model_dtype=Dtype.BF16,
        autocast=Dtype.BF16,
        quantization=Quantization.NF4_DQ,
        upcast_unquantized=upcast,
    )
    base = build_model(plan, torch.device("cpu"))
    expected = torch.float32 if upcast else torch.bfloat16
    assert base.get_input_embeddings().weight.dtype is expected
    assert base.lm_head.weight.dtype is expected
    assert base.model.norm.weight.dtype is expected
    assert base.model.layers[0].mlp.up_proj.weight.dtype is torch.uint8
    assert not any(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.parametrize("loaded", [False, True])
def test_a_4_bit_base_trains_on_after_an_evaluation(tmp_path: Path, loaded: bool) -> None:
    """Drawn or loaded: bitsandbytes must not repack its weights for inference on any CPU."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), quantization=Quantization.NF4_DQ)
    plan = replace(plan, model=replace(plan.model, has_weights=loaded))
    base = build_model(plan, torch.device("cpu"))
    packed = [item for item in base.modules() if hasattr(item, "support_avx512bf16_for_cpu")]
    assert len(packed) == 7 * 3
    assert not any(item.support_avx512bf16_for_cpu for item in packed)
    rows = torch.randint(0, 100, (2, 16))
    found = apply_method(plan, base, 3)
    for training in (True, False, True):
        found.train(training)
        assert torch.isfinite(found(input_ids=rows, labels=rows).loss)


@pytest.mark.parametrize("loaded", [False, True], ids=["drawn", "loaded"])
@pytest.mark.parametrize("form", [Quantization.FP8, Quantization.W8A8])
def test_a_base_in_8_bits_is_that_of_the_plain_model_and_learns_under_checkpoints(
    tmp_path: Path, form: Quantization, loaded: bool
) -> None:
    """Its matrices are the rounded ones; a loss, its gradients and those of a second run agree."""
    plan = tiny.plan(tmp_path)
    plan = replace(plan, model=replace(plan.model, has_weights=loaded))
    plain = build_model(plan, torch.device("cpu"))
    base = build_model(tiny.with_hardware(plan, quantization=form), torch.device("cpu"))
    found = {name: each for name, each in base.named_modules() if type(each) is EightBitLinear}
    assert len(found) == 7 * 3
    if loaded:  # drawn matrices come one by one, in another order
        for name, each in found.items():
            whole = plain.get_submodule(name).weight
            assert float((each.weight - whole).norm() / whole.norm()) < 0.03
    assert not any(parameter.requires_grad for parameter in base.parameters())
    trained = apply_method(plan, base, 3)
    rows = torch.arange(32).reshape(2, 16) % 100
    losses, gradients = [], []
    for checkpointed in (False, True):
        if checkpointed:
            trained.gradient_checkpointing_enable({"use_reentrant": False})
        trained.train()
        trained.zero_grad()
        loss = trained(input_ids=rows, labels=rows).loss
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append([p.grad.clone() for p in trained.parameters() if p.grad is not None])
    assert losses[1] == losses[0]
    assert len(gradients[0]) == 2 * 7 * 3
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_plan_for_a_gpu_needs_one_here(tmp_path: Path) -> None:
    """The sentence says how to plan for this machine."""
    plan = tiny.plan(tmp_path)
    assert training_device(plan.hardware) == torch.device("cpu")
    if not torch.cuda.is_available():
        on_gpu = tiny.with_hardware(plan, accelerator="cuda")
        with pytest.raises(TsplannerError, match=r"PyTorch sees none here: .*--cpu"):
            training_device(on_gpu.hardware)
