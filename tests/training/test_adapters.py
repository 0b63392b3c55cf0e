"""What of a model is trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from memory_models.settings import Dtype, FinetuningType, changed
from memory_models.states.adapters import trainable_parameters
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.models.source import read_architecture
from tsplanner.training import adapters
from tsplanner.training.base_model.build import build_model
from tsplanner.training.kernels.fused_loss import use_fused_loss


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """The tiny Qwen2 of three layers."""
    return build_model(tiny.plan(tmp_path / "base"), torch.device("cpu"))


def test_decoder_layers_are_the_list_of_the_configs_length(model: Any) -> None:
    """Three of them; a model without such a list is refused."""
    name, layers = adapters.decoder_layers(model)
    assert (name, len(layers)) == ("model.layers", 3)
    bare = nn.Module()
    bare.config = type("Config", (), {"num_hidden_layers": 2})()  # type: ignore[assignment]
    with pytest.raises(TsplannerError, match="has no list of 2 decoder layers"):
        adapters.decoder_layers(bare)


def test_targets_are_full_names_inside_the_decoder(model: Any) -> None:
    """The head is a linear too, and is none of them."""
    pattern = adapters.target_pattern(model, ("q_proj", "v_proj"))
    hit = [name for name in adapters.linear_names(model) if re.fullmatch(pattern, name)]
    assert len(hit) == 2 * 3
    assert {name.rsplit(".", 1)[1] for name in hit} == {"q_proj", "v_proj"}
    every = adapters.target_pattern(model, "all-linear")
    names = [name for name in adapters.linear_names(model) if re.fullmatch(every, name)]
    assert len(names) == 7 * 3
    assert "lm_head" not in names


def test_an_unknown_target_is_named_with_those_there_are(model: Any) -> None:
    """A typing error gets the name that was meant."""
    with pytest.raises(TsplannerError, match=r'"q_porj" is no linear .* Did you mean "q_proj"\?'):
        adapters.target_pattern(model, ("q_porj",))


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        (FinetuningType.LORA, (False, False)),
        (FinetuningType.DORA, (True, False)),
        (FinetuningType.RSLORA, (False, True)),
    ],
)
def test_a_method_is_a_flag_of_lora(
    tmp_path: Path, model: Any, method: FinetuningType, flags: tuple[bool, bool]
) -> None:
    """Rank, alpha and dropout are the plan's."""
    plan = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=method, lora_dropout=0.1)
    found = adapters.adapter_config(plan, model, 100)
    assert (found.use_dora, found.use_rslora) == flags
    assert (found.r, found.lora_dropout, found.bias) == (4, 0.1, "none")
    assert found.lora_alpha == plan.learning.method.alpha


def test_adalora_starts_wider_and_prunes_between_two_shares_of_the_run(
    tmp_path: Path, model: Any
) -> None:
    """Rank 4 starts at 6; of 100 steps the first 10 warm up and the last 30 are settled."""
    plan = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=FinetuningType.ADALORA)
    found = adapters.adapter_config(plan, model, 100)
    assert (found.target_r, found.init_r) == (4, 6)
    assert (found.tinit, found.tfinal, found.total_step) == (10, 30, 100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adaloras_divisor_is_no_trained_parameter(
    tmp_path: Path, model: Any, dtype: torch.dtype
) -> None:
    """On any base: PEFT's cast of the adapters to fp32 leaves it as it was made, rank 6."""
    plan = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=FinetuningType.ADALORA)
    found = adapters.apply_method(plan, model.to(dtype), 10)
    divisors = {name: item for name, item in found.named_parameters() if ".ranknum." in name}
    assert len(divisors) == 7 * 3
    assert not any(item.requires_grad for item in divisors.values())
    assert {item.item() for item in divisors.values()} == {6.0}


def test_lora_on_a_tiny_model_trains_the_adapters_alone(tmp_path: Path, model: Any) -> None:
    """Rank 4 on q of 3 layers: 4 x (32 + 32) elements each."""
    plan = tiny.with_learning(tiny.plan(tmp_path), lora_target=("q_proj",))
    found = adapters.apply_method(plan, model, 10)
    assert adapters.trainable_count(found) == 3 * 4 * (32 + 32)


def test_freezing_leaves_the_last_layers(tmp_path: Path, model: Any) -> None:
    """One of three: its own elements and no other's."""
    plan = tiny.with_learning(
        tiny.plan(tmp_path), finetuning_type=FinetuningType.FREEZE, freeze_trainable_layers=1
    )
    found = adapters.apply_method(plan, model, 10)
    names = {name for name, item in found.named_parameters() if item.requires_grad}
    assert names
    assert all(name.startswith("model.layers.2.") for name in names)


def test_trained_fp16_weights_are_refused_under_fp16(tmp_path: Path, model: Any) -> None:
    """Their gradients cannot be unscaled."""
    plan = tiny.with_learning(tiny.plan(tmp_path), finetuning_type=FinetuningType.FULL)
    plan = tiny.with_hardware(plan, model_dtype=Dtype.FP16, autocast=Dtype.FP16)
    with pytest.raises(TsplannerError, match="full fine-tuning under fp16 needs its weights in"):
        adapters.apply_method(plan, model.half(), 10)


def test_a_linear_draws_nothing_while_peft_draws_its_weights() -> None:
    """Afterwards it draws as before."""
    with adapters.drawn_once():
        nn.Linear(2, 2).reset_parameters()
        state = torch.get_rng_state()
        nn.Linear(2, 2)
        assert torch.equal(torch.get_rng_state(), state)
    nn.Linear(2, 2)
    assert not torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "learning",
    [
        {"modules_to_save": ("embed_tokens", "lm_head")},
        {"modules_to_save": ("lm_head",)},
        {"lora_target": ("q_proj", "embed_tokens", "lm_head")},
        {"lora_target": ("embed_tokens",)},
        {
            "lora_target": ("q_proj", "v_proj"),
            "rank_pattern": (("q_proj", 2),),
            "alpha_pattern": (("v_proj", 64.0),),
        },
    ],
)
def test_what_peft_trains_is_what_the_memory_model_counts(
    tmp_path: Path, tied: bool, learning: dict[str, object]
) -> None:
    """Copies and adapters of the vocabulary, patterns; and the saved adapter is the same model."""
    plan = changed(tiny.plan(tmp_path), **learning)
    config = {**tiny.CONFIG, "tie_word_embeddings": tied}
    shapes = read_architecture(config, name="tiny", source="test")
    made = replace(plan.model, config=config, has_weights=False, path=None, architecture=shapes)
    plan = replace(plan, model=made)
    wrapped = adapters.apply_method(plan, build_model(plan, torch.device("cpu")), 4)
    told = trainable_parameters(shapes, plan.learning.method)
    assert adapters.trainable_count(wrapped) == told
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    wrapped.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in saved.values()) == told

    from peft import PeftModel

    again = PeftModel.from_pretrained(build_model(plan, torch.device("cpu")), tmp_path / "adapter")
    tokens = torch.arange(8).unsqueeze(0)
    wrapped.eval()
    assert torch.equal(again(input_ids=tokens).logits, wrapped(input_ids=tokens).logits)


def test_the_fused_loss_trains_a_copied_head_as_the_plain_loss_does(tmp_path: Path) -> None:
    """The same loss and the same gradient of the copy."""
    plan = changed(tiny.plan(tmp_path), modules_to_save=("lm_head",))
    tokens = torch.arange(24).reshape(2, 12)
    found = []
    for fused in (False, True):
        model = build_model(plan, torch.device("cpu"))
        if fused:
            use_fused_loss(model)
        torch.manual_seed(0)
        wrapped = adapters.apply_method(plan, model, 4)
        loss = wrapped(input_ids=tokens, labels=tokens).loss
        loss.backward()
        head = wrapped.get_base_model().lm_head.modules_to_save["default"].weight
        assert head.grad is not None
        found.append((loss.detach(), head.grad))
    torch.testing.assert_close(found[0], found[1])
