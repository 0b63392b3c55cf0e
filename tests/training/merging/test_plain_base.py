"""A base as it was trained on, and with its matrices whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from memory_models.settings import Dtype, Quantization  # noqa: E402
from tests.support import tiny  # noqa: E402
from tsplanner.training.eight_bit.loading import rounded  # noqa: E402
from tsplanner.training.merging.plain_base import (  # noqa: E402
    device_of,
    loaded,
    plan_here,
    whole_matrices,
)
from tsplanner.training.merging.records import MergeRequest  # noqa: E402


def request(folder: Path, **hardware: object) -> MergeRequest:
    """A merge of the tiny plan with these hardware settings."""
    plan = tiny.with_hardware(tiny.plan(folder), **hardware)
    return MergeRequest(plan=plan, adapter="a", output="o", dtype=Dtype.BF16)


def test_only_the_form_of_the_base_is_left_of_how_it_was_trained(tmp_path: Path) -> None:
    """One device, no accumulation, no autocast; and once its matrices are whole no quantisation."""
    asked = request(tmp_path, quantization=Quantization.NF4, zero_stage=2, world_size=2)
    found = plan_here(asked, asked.plan.model, quantised=True).hardware
    assert (found.base.quantization, found.base.model_dtype) == (Quantization.NF4, Dtype.BF16)
    assert (found.sharding.world_size, found.sharding.zero_stage) == (1, 0)
    assert found.base.autocast is None
    assert plan_here(asked, asked.plan.model, quantised=False).hardware.base.quantization is None


def test_a_plan_for_the_cpu_is_merged_there(tmp_path: Path) -> None:
    """And one for a GPU wherever one is."""
    assert device_of(request(tmp_path)).type == "cpu"
    asked = request(tmp_path, accelerator="cuda")
    assert device_of(asked).type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_model_is_loaded_in_the_dtype_that_is_written(tmp_path: Path) -> None:
    """Ready to be asked."""
    asked = request(tmp_path)
    model = loaded(plan_here(asked, asked.plan.model, quantised=True), torch.device("cpu"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert not model.training


def test_a_matrix_in_8_bits_becomes_the_values_that_it_stands_for() -> None:
    """With its bias; a plain linear beside it stays as it is."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(32, 16), torch.nn.Linear(16, 4))
    model.config = SimpleNamespace(get_text_config=lambda decoder: model.config)
    model[0].requires_grad_(False)
    kept, other = rounded(model[0], Quantization.W8A8), model[1]
    model[0] = kept
    model.hf_quantizer = object()
    whole_matrices(model, torch.float32)
    assert type(model[0]) is torch.nn.Linear
    assert torch.equal(model[0].weight, kept.rows.whole(torch.float32))
    assert torch.equal(model[0].bias, kept.bias)
    assert model[1] is other
    assert not hasattr(model, "hf_quantizer")


def test_a_matrix_of_bitsandbytes_becomes_the_values_that_it_stands_for() -> None:
    """Within what four bits leave of it."""
    bnb = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    weight = torch.randn(64, 64)
    packed = bnb.nn.Linear4bit(64, 64, bias=False, quant_type="nf4")
    packed.weight = bnb.nn.Params4bit(weight.clone(), requires_grad=False, quant_type="nf4")
    model = torch.nn.Sequential(packed.to("cpu"))
    model.config = SimpleNamespace(get_text_config=lambda decoder: model.config)
    whole_matrices(model, torch.float32)
    assert type(model[0]) is torch.nn.Linear
    assert 0.001 < float((model[0].weight - weight).abs().mean()) < 0.1
