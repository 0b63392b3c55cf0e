"""Vision-language models: what is loaded of them, and how large it is."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.settings import FinetuningType, Method
from memory_models.states.adapters import trainable_parameters
from memory_models.states.weights import quantized_linears, total_parameters
from tests.support import tiny_vision
from tsplanner.errors import TsplannerError
from tsplanner.models.config import Config, NoReaderError
from tsplanner.models.source import read_architecture
from tsplanner.models.wrappers import (
    TEXT_DEFAULTS,
    TIED_INSIDE,
    WRAPPERS,
    CausalLoads,
    is_tied,
    text_section,
)

SIGLIP = {
    "hidden_size": 1152,
    "image_size": 896,
    "intermediate_size": 4304,
    "model_type": "siglip_vision_model",
    "num_hidden_layers": 27,
    "patch_size": 14,
    "vision_use_head": False,
}
CLIP = {
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "model_type": "clip_vision_model",
    "num_hidden_layers": 24,
    "patch_size": 14,
}
PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "gemma-3-4b-it": (
        {
            "model_type": "gemma3",
            "text_config": {
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "model_type": "gemma3_text",
                "num_hidden_layers": 34,
                "sliding_window": 1024,
            },
            "vision_config": SIGLIP,
        },
        4_300_079_472,
    ),
    "qwen2.5-vl-7b": (
        {
            "model_type": "qwen2_5_vl",
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_attention_heads": 28,
            "num_hidden_layers": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "tie_word_embeddings": False,
            "vision_config": {"hidden_size": 1280, "out_hidden_size": 3584},
        },
        8_292_166_656,
    ),
    "qwen3-vl-8b": (
        {
            "model_type": "qwen3_vl",
            "text_config": {
                "model_type": "qwen3_vl_text",
                "hidden_size": 4096,
                "intermediate_size": 12288,
                "num_hidden_layers": 36,
                "num_key_value_heads": 8,
            },
            "vision_config": {"model_type": "qwen3_vl", "out_hidden_size": 4096},
        },
        8_767_123_696,
    ),
    "llava-1.5-7b": (
        {
            "model_type": "llava",
            "text_config": {
                "max_position_embeddings": 4096,
                "model_type": "llama",
                "vocab_size": 32064,
            },
            "vision_config": CLIP,
        },
        7_063_427_072,
    ),
}
"""Published configs, and the totals of transformers on a meta device."""


def read(values: dict[str, Any]) -> Any:
    """The architecture of a config."""
    return read_architecture(values, name="model", source="config.json")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_wrapper_has_the_parameters_of_the_whole_model(name: str) -> None:
    """The tower is loaded with the language model, and stays frozen."""
    config, total = PUBLISHED[name]
    found = read(config)
    assert total_parameters(found) == total
    assert found.model_type == config["model_type"]
    assert found.outside.frozen_linears


@pytest.mark.parametrize("model_type", [kind for kind in WRAPPERS if kind in tiny_vision.CONFIGS])
def test_every_formula_counts_what_transformers_builds(model_type: str) -> None:
    """Total, what full fine-tuning trains, and which matrices bitsandbytes would quantise."""
    torch = pytest.importorskip("torch")
    try:
        found = read(tiny_vision.config_of(model_type))
    except NoReaderError:
        assert WRAPPERS[model_type].tower_type is None
        return
    from tsplanner.training.language_model import unread_parameters

    model = tiny_vision.built(model_type, device="meta")
    total = sum(each.numel() for each in model.parameters())
    frozen = sum(each.numel() for each in unread_parameters(model))
    assert total_parameters(found) == total
    assert (
        trainable_parameters(found, Method(finetuning_type=FinetuningType.FULL)) == total - frozen
    )
    head = model.get_output_embeddings()
    linears = [
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]
    counted = sum(linear.weight_count * copies for linear, copies in quantized_linears(found))
    assert counted == sum(linears)


@pytest.mark.parametrize("model_type", sorted(WRAPPERS))
def test_the_table_is_that_of_the_installed_transformers(model_type: str) -> None:
    """Two registries, the type of the language model, and the tie of a bare config."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.auto import modeling_auto

    seeing = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    row, config = WRAPPERS[model_type], transformers.AutoConfig.for_model(model_type)
    loads = {seeing[model_type]: CausalLoads.WHOLE, None: CausalLoads.NOTHING}
    assert loads.get(causal.get(model_type), CausalLoads.TEXT_HALF) is row.causal
    assert config.get_text_config().model_type == row.text_type
    assert bool(getattr(config, "tie_word_embeddings", False)) == row.tied


@pytest.mark.parametrize("kind", sorted(TEXT_DEFAULTS))
def test_text_defaults_are_those_of_transformers(kind: str) -> None:
    """A ``text_config`` names only what differs from them."""
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(kind)
    assert {key: getattr(config, key) for key in TEXT_DEFAULTS[kind]} == TEXT_DEFAULTS[kind]


def test_a_wrapper_without_its_language_model_is_refused() -> None:
    """It would be built with the default sizes of a 7B; no published folder lacks the section."""
    with pytest.raises(TsplannerError, match="text_config is missing, and with it the sizes"):
        read({"model_type": "llava", "vision_config": CLIP})
    with pytest.raises(TsplannerError, match="text_config is missing"):
        read({"model_type": "qwen2_5_vl", "vision_config": {}})


def test_a_wrapper_whose_tower_has_no_reader_is_left_to_the_trace() -> None:
    """Its language model alone would be the wrong size, and silently so."""
    for model_type in ("mllama", "internvl", "paligemma"):
        with pytest.raises(NoReaderError, match=model_type):
            read(tiny_vision.config_of(model_type))


def test_the_wrappers_own_key_ties_the_head() -> None:
    """Gemma 3 and Mistral 3 are tied by default, LLaVA by its ``text_config`` too."""
    assert is_tied(Config({"model_type": "gemma3"}, ""))
    assert not is_tied(Config({"model_type": "gemma3", "tie_word_embeddings": False}, ""))
    inside = {"text_config": {"tie_word_embeddings": True}}
    for kind in WRAPPERS:
        config = {"model_type": kind, "tie_word_embeddings": False, **inside}
        assert is_tied(Config(config, "")) == (kind in TIED_INSIDE)


def test_a_language_model_alone_has_no_section_of_one() -> None:
    """Its config is read as it is."""
    assert text_section(Config({"model_type": "llama", "text_config": {}}, "")) is None


def test_keys_beside_the_vision_config_are_the_language_models() -> None:
    """Qwen2.5-VL was published so; newer folders have a section."""
    config, _ = PUBLISHED["qwen2.5-vl-7b"]
    section = text_section(Config(config, "config.json"))
    assert section is not None
    assert (section.text("model_type"), section.positive("num_hidden_layers")) == ("qwen2", 28)
