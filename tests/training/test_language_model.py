"""The language model inside a model that also sees, and adapters that stay on it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from memory_models.settings import Dtype, FinetuningType, Quantization
from tests.support import tiny, tiny_vision
from tsplanner.planner.plan import Plan
from tsplanner.training import adapters
from tsplanner.training.kernels.fused_loss import use_fused_loss
from tsplanner.training.language_model import (
    auto_class,
    decoder,
    head_owner,
    read_text_alone,
    text_config,
    unread_layers,
    unread_parameters,
)

SEEING = sorted(tiny_vision.CONFIGS)
QUICK = {"gemma3", "qwen2_5_vl"}
ADAPTED = [
    kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow)
    for kind in SEEING
    # Its router is a linear that returns a pair, which PEFT cannot wrap.
    if kind != "llama4"
]


def plan_of(folder: Path, **learning: Any) -> Plan:
    """LoRA on the tiny Qwen2's rows, whose model the test replaces."""
    return tiny.with_learning(tiny.plan(folder), **learning)


def rows() -> dict[str, torch.Tensor]:
    """Two rows of text; the first of the tokens carry no label."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 100, (2, 24), generator=generator)
    labels = ids.clone()
    labels[0, :7], labels[1, :3] = -100, -100
    return {"input_ids": ids, "labels": labels}


@pytest.mark.parametrize("model_type", SEEING)
def test_the_published_model_is_built_whole(model_type: str) -> None:
    """The class whose adapters its users load, with the tower that the weights have."""
    config = AutoConfig.for_model(model_type, **tiny_vision.CONFIGS[model_type])
    assert auto_class(config) is AutoModelForImageTextToText
    model = tiny_vision.built(model_type, device="meta")
    prefix, body = decoder(model)
    assert prefix.endswith(("language_model", "text_model"))
    assert any(True for _ in unread_parameters(model))
    assert not {id(each) for each in unread_parameters(model)} & {
        id(each)
        for name, each in body.named_parameters()
        if not any(f"layers.{index}." in name for index in unread_layers(model))
    }


def test_a_model_of_text_alone_is_its_own_language_model() -> None:
    """Nothing of it is unread."""
    config = AutoConfig.for_model(
        "qwen2", **{k: v for k, v in tiny.CONFIG.items() if k != "model_type"}
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert auto_class(config) is AutoModelForCausalLM
    assert text_config(config) is config
    assert decoder(model) == ("", model)
    assert head_owner(model) is model
    assert list(unread_parameters(model)) == []
    before = dict(vars(model))
    read_text_alone(model)
    assert vars(model).keys() == before.keys()


@pytest.mark.parametrize("model_type", SEEING)
def test_adapters_are_on_the_language_model_alone(model_type: str) -> None:
    """The tower has linears of the same names, and as many layers."""
    model = tiny_vision.built(model_type, device="meta")
    prefix, layers = adapters.decoder_layers(model)
    assert prefix.startswith(decoder(model)[0])
    assert len(layers) == 3
    pattern = adapters.target_pattern(model, "all-linear")
    hit = [name for name in adapters.linear_names(model) if re.fullmatch(pattern, name)]
    assert hit
    assert all(name.startswith(f"{prefix}.") for name in hit)


def test_layers_that_attend_to_an_image_get_no_adapter() -> None:
    """Rows of text pass by Mllama's cross-attention, so an adapter there would learn nothing."""
    model = tiny_vision.built("mllama", device="meta")
    assert unread_layers(model) == {1}
    pattern = adapters.target_pattern(model, ("q_proj",))
    hit = [name for name in adapters.linear_names(model) if re.fullmatch(pattern, name)]
    assert [name.split(".layers.")[1][0] for name in hit] == ["0", "2"]


@pytest.mark.parametrize("model_type", SEEING)
def test_both_losses_are_the_same_and_divide_by_the_labels_of_the_step(model_type: str) -> None:
    """38 labels that something precedes; a step of two such micro-batches divides by 76."""
    model = tiny_vision.built(model_type)
    read_text_alone(model)
    with torch.no_grad():  # logits so large that a soft cap or a scale would show
        model.get_output_embeddings().weight.mul_(100)
    batch = rows()
    plain = float(model(**batch).loss)
    half = float(model(**batch, num_items_in_batch=76).loss)
    use_fused_loss(model)
    assert float(model(**batch).loss) == pytest.approx(plain, rel=1e-5)
    assert float(model(**batch, num_items_in_batch=76).loss) == pytest.approx(half, rel=1e-5)
    assert half == pytest.approx(plain / 2, rel=1e-5)
    assert model.accepts_loss_kwargs


@pytest.mark.parametrize("model_type", ADAPTED)
def test_a_saved_adapter_loads_on_the_published_model(model_type: str, tmp_path: Path) -> None:
    """Plain PEFT on the plain auto class computes what was trained here."""
    folder = tiny_vision.write_model(model_type, tmp_path / "published")
    config = AutoConfig.from_pretrained(folder)
    model = auto_class(config).from_pretrained(folder)
    read_text_alone(model)
    use_fused_loss(model)
    trained = adapters.apply_method(plan_of(tmp_path / "base"), model, 4).train()
    optimizer = torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], lr=1.0)
    first = trained(**rows()).loss
    for _ in range(3):
        trained(**rows()).loss.backward()
        assert all(p.grad is not None for p in trained.parameters() if p.requires_grad)
        optimizer.step()
        optimizer.zero_grad()
    last = float(trained.eval()(**rows()).loss)
    assert last < float(first)
    trained.save_pretrained(tmp_path / "adapter")
    published = AutoModelForImageTextToText.from_pretrained(folder)
    loaded = PeftModel.from_pretrained(published, tmp_path / "adapter").eval()
    assert float(loaded(**rows()).loss) == pytest.approx(last, rel=1e-5)


@pytest.mark.parametrize("model_type", ["gemma3", "qwen2_5_vl", "mllama", "llama4"])
def test_full_fine_tuning_trains_all_that_rows_of_text_reach(
    model_type: str, tmp_path: Path
) -> None:
    """Every trained weight gets a gradient, and the tower is not among them."""
    model = tiny_vision.built(model_type)
    read_text_alone(model)
    use_fused_loss(model)
    plan = plan_of(tmp_path, finetuning_type=FinetuningType.FULL)
    trained = adapters.apply_method(plan, model, 4)
    trained(**rows()).loss.backward()
    graded = {name for name, each in trained.named_parameters() if each.requires_grad}
    assert not [name for name in graded if "vision" in name or "visual" in name]
    assert graded == {name for name, each in trained.named_parameters() if each.grad is not None}


def test_random_weights_of_a_quantised_tower_are_finite(tmp_path: Path) -> None:
    """A tower of CLIP draws its class token itself; the language model's rules do not know it."""
    pytest.importorskip("bitsandbytes")
    from tsplanner.training.base_model.build import build_model

    made = tiny.with_hardware(
        tiny.plan(tmp_path), quantization=Quantization.NF4, model_dtype=Dtype.BF16
    )
    config = tiny_vision.config_of("llava")
    made = replace(made, model=replace(made.model, config=config, path=None, has_weights=False))
    model = build_model(made, torch.device("cpu"))
    token = model.model.vision_tower.embeddings.class_embedding
    assert 0 < float(token.abs().max()) < 1
