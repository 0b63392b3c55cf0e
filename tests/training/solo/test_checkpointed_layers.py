"""Checkpoints of the first decoder layers alone, in the models as transformers has them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.support.shrunk import SHRUNK, config_of
from tsplanner.errors import TsplannerError
from tsplanner.training.adapters import decoder_layers
from tsplanner.training.solo.checkpointed_layers import checkpoint_first, require_checkpointing


def built(model_type: str) -> Any:
    """The family's model of three layers, in training, every layer checkpointed."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from tsplanner.training.base_model.configuration import register_own_models

    register_own_models()
    keys = {**config_of(model_type), "num_hidden_layers": 3}
    keys.pop("model_type")
    if "no_rope_layers" in keys:
        keys["no_rope_layers"] = [1, 1, 0]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **keys))
    model.config.use_cache = False
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def forwards(model: Any) -> list[int]:
    """How often each layer's attention runs in one step."""
    _, layers = decoder_layers(model)
    counts = [0] * len(layers)
    for place, layer in enumerate(layers):
        inner = next(module for name, module in layer.named_children() if "att" in name)

        def count(*_: Any, at: int = place) -> None:
            counts[at] += 1

        inner.register_forward_pre_hook(count)
    tokens = torch.arange(10, 22).reshape(1, -1)
    model(input_ids=tokens, labels=tokens).loss.backward()
    return counts


@pytest.mark.parametrize("model_type", SHRUNK)
def test_only_the_first_layers_run_again(model_type: str) -> None:
    """Each family's layers honour a flag of their own: one runs twice, two run once."""
    model = built(model_type)
    checkpoint_first(model, 1)
    assert forwards(model) == [2, 1, 1]


def test_a_model_that_cannot_run_layers_again_says_so_before_a_step() -> None:
    """JetMoe's code has no checkpointing; other models pass."""
    from transformers import AutoModelForCausalLM, JetMoeConfig

    require_checkpointing(built("qwen2"))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(JetMoeConfig(num_hidden_layers=1, hidden_size=64))
    with pytest.raises(TsplannerError, match="JetMoeForCausalLM supports no activation"):
        require_checkpointing(model)


def test_without_a_number_every_checkpoint_stays() -> None:
    """As plans without the setting have it."""
    model = built("qwen2")
    checkpoint_first(model, None)
    assert forwards(model) == [2, 2, 2]


def test_layers_without_a_flag_of_their_own_are_refused() -> None:
    """Their decoder would checkpoint all of them whatever it says."""
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model.config = type("Config", (), {"num_hidden_layers": 2})()  # type: ignore[assignment]
    with pytest.raises(TsplannerError, match="Linear has no checkpointing of its own"):
        checkpoint_first(model, 1)
