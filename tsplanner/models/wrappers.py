"""Vision-language models: a language model, a vision tower and a projector in one config.json.

transformers loads them by two auto classes that do not agree. ``AutoModelForImageTextToText``
always gives the model that was published, and our worker loads that one, because the saved adapter
is used on it. Rows of text train its language model; tower and projector lie beside it, frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum

from memory_models.architecture import Architecture, OutsideShape
from memory_models.frozen import frozen
from tsplanner.models.config import Config
from tsplanner.models.defaults import with_defaults
from tsplanner.models.towers import joined, linear, tensor, tower_shape

Projector = Callable[[Config, int, int], OutsideShape]
"""From the whole config, the tower's width and the language model's width."""


class CausalLoads(StrEnum):
    """What ``AutoModelForCausalLM`` makes of a published folder."""

    WHOLE = "whole"
    """The whole model, tower included."""
    TEXT_HALF = "text half"
    """The language model alone."""
    NOTHING = "nothing"
    """It refuses the config."""


@frozen
class Wrapper:
    """What a type of vision-language model adds to its language model."""

    causal: CausalLoads = CausalLoads.NOTHING
    text_type: str
    """Type of a ``text_config`` that names none."""
    tied: bool = False
    """Whether the lm_head is tied to the embedding where the config does not say so."""
    tower_type: str | None = None
    """Type of the tower where ``vision_config`` names none; None: only a trace reads the tower."""
    tower_width: str = "hidden_size"
    """Key of the tower's width."""
    projector: Projector | None = None
    """None: the tower holds all there is, or only a trace reads the model."""
    flat: bool = False
    """Published configs keep the keys of the language model beside ``vision_config``."""


def _two_linears(config: Config, tower: int, hidden: int) -> OutsideShape:
    """LLaVA's projector: two linears [D, H] and [H, H]."""
    layers = config.optional("vision_feature_layer")
    read = len(layers) if isinstance(layers, list) else 1
    bias = config.flag("multimodal_projector_bias", default=True)
    return OutsideShape(
        frozen_linears=(linear(tower * read, hidden, bias=bias), linear(hidden, hidden, bias=bias))
    )


def _two_linears_and_newline(config: Config, tower: int, hidden: int) -> OutsideShape:
    """LLaVA-NeXT's projector, and its embedding of the end of a row of patches."""
    newline = OutsideShape(frozen_tensors=(tensor(hidden),))
    return joined(_two_linears(config, tower, hidden), newline)


def _gemma3_projector(_: Config, tower: int, hidden: int) -> OutsideShape:
    """Gemma 3's projector: a norm, and a matrix [D, H] that is no ``nn.Linear``."""
    return OutsideShape(frozen_tensors=(tensor(tower * hidden), tensor(tower)))


def _mistral3_projector(config: Config, tower: int, hidden: int) -> OutsideShape:
    """Mistral 3's projector: a norm, a merger of neighbouring patches, two linears."""
    layers = config.optional("vision_feature_layer")
    read = len(layers) if isinstance(layers, list) else 1
    side = config.positive("spatial_merge_size", 2)
    bias = config.flag("multimodal_projector_bias", default=False)
    return OutsideShape(
        frozen_linears=(
            linear(tower * side**2, tower, bias=False),
            linear(tower * read, hidden, bias=bias),
            linear(hidden, hidden, bias=bias),
        ),
        frozen_tensors=(tensor(tower),),
    )


_WHOLE, _HALF = CausalLoads.WHOLE, CausalLoads.TEXT_HALF

WRAPPERS: Mapping[str, Wrapper] = {
    "gemma3": Wrapper(
        causal=_WHOLE,
        text_type="gemma3_text",
        tied=True,
        tower_type="siglip_vision_model",
        projector=_gemma3_projector,
    ),
    "mistral3": Wrapper(
        text_type="mistral", tied=True, tower_type="pixtral", projector=_mistral3_projector
    ),
    "llava": Wrapper(text_type="llama", tower_type="clip_vision_model", projector=_two_linears),
    "llava_next": Wrapper(
        text_type="llama", tower_type="clip_vision_model", projector=_two_linears_and_newline
    ),
    "llava_onevision": Wrapper(
        text_type="qwen2", tower_type="siglip_vision_model", projector=_two_linears_and_newline
    ),
    "qwen2_vl": Wrapper(
        text_type="qwen2_vl_text", tower_type="qwen2_vl", tower_width="embed_dim", flat=True
    ),
    "qwen2_5_vl": Wrapper(text_type="qwen2_5_vl_text", tower_type="qwen2_5_vl", flat=True),
    "qwen3_vl": Wrapper(text_type="qwen3_vl_text", tower_type="qwen3_vl"),
    "qwen3_vl_moe": Wrapper(text_type="qwen3_vl_moe_text"),
    "qwen3_5": Wrapper(causal=_HALF, text_type="qwen3_5_text"),
    "qwen3_5_moe": Wrapper(causal=_HALF, text_type="qwen3_5_moe_text"),
    "gemma3n": Wrapper(causal=_WHOLE, text_type="gemma3n_text", tied=True),
    "gemma4": Wrapper(causal=_WHOLE, text_type="gemma4_text", tied=True),
    "llama4": Wrapper(causal=_HALF, text_type="llama4_text"),
    "mllama": Wrapper(causal=_HALF, text_type="mllama_text_model"),
    "internvl": Wrapper(text_type="qwen2", tied=True),
    "idefics3": Wrapper(text_type="llama"),
    "smolvlm": Wrapper(text_type="llama"),
    "paligemma": Wrapper(text_type="gemma", tied=True),
    "aya_vision": Wrapper(text_type="cohere2", tied=True),
    "glm4v": Wrapper(text_type="glm4v_text"),
}
"""By ``model_type``. Source: transformers' auto mappings and configuration classes; a test compares
every row with the installed version."""

READ_AS: Mapping[str, str] = {
    "qwen2_vl_text": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen3_vl_text": "qwen3",
}
"""Types of language models that differ from another type by their positions alone."""

_LLAMA_SIZES = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
_QWEN_VL_SIZES = {
    "vocab_size": 152_064,
    "hidden_size": 8192,
    "intermediate_size": 29_568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32_768,
}

TEXT_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "llama": {**_LLAMA_SIZES, "intermediate_size": 11_008, "max_position_embeddings": 2048},
    "mistral": {
        **_LLAMA_SIZES,
        "intermediate_size": 14_336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    "qwen2": {
        "vocab_size": 151_936,
        "hidden_size": 4096,
        "intermediate_size": 22_016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32_768,
    },
    "gemma3_text": {
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    "qwen2_vl_text": _QWEN_VL_SIZES,
    "qwen2_5_vl_text": _QWEN_VL_SIZES,
    "qwen3_vl_text": {
        "vocab_size": 151_936,
        "hidden_size": 4096,
        "intermediate_size": 22_016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "max_position_embeddings": 128_000,
    },
}
"""What a ``text_config`` leaves out, sizes included: published wrappers name only what differs from
the defaults of transformers' class. A config.json of a language model alone always names its sizes.
"""


def text_section(config: Config) -> Config | None:
    """The config of the language model inside a wrapper; None: the model is none.

    Its ``model_type`` is the one whose reader reads it.

    Raises:
        TsplannerError: the wrapper has no language model.
    """
    wrapper = WRAPPERS.get(config.text("model_type", ""))
    if wrapper is None:
        return None
    if config.has("text_config"):
        section = config.section("text_config")
    elif wrapper.flat and config.has("hidden_size"):
        section = config
    else:
        raise config.error(
            "text_config",
            "is missing, and with it the sizes of the language model; fetch the published "
            "config.json again",
        )
    inner = (
        wrapper.text_type if section is config else section.text("model_type", wrapper.text_type)
    )
    values = with_defaults(TEXT_DEFAULTS.get(inner, {}), section.values)
    return Config({**values, "model_type": READ_AS.get(inner, inner)}, section.source)


def unread_layers(config: Mapping[str, object]) -> frozenset[int]:
    """Layers that rows of text pass by: Mllama's cross-attention to an image."""
    section = config.get("text_config")
    found = section.get("cross_attention_layers") if isinstance(section, Mapping) else None
    return (
        frozenset(n for n in found if isinstance(n, int))
        if isinstance(found, list)
        else frozenset()
    )


def outside_shape(config: Config, hidden_size: int) -> OutsideShape | None:
    """Tower and projector of a wrapper, frozen; None: only a trace can count them.

    Raises:
        TsplannerError: the shapes are impossible.
    """
    wrapper = WRAPPERS[config.text("model_type")]
    if wrapper.tower_type is None or not config.has("vision_config"):
        return None
    section = config.section("vision_config")
    named = section.text("model_type", wrapper.tower_type).removesuffix("_vision")
    # Published folders name the tower of a Qwen-VL by the type of the whole model.
    shape = tower_shape(named, section)
    if shape is None:
        return None
    if wrapper.projector is None:
        return joined(shape)
    width = section.positive(wrapper.tower_width)
    return joined(shape, wrapper.projector(config, width, hidden_size))


def seen_whole(architecture: Architecture, config: Config) -> Architecture | None:
    """The language model with the tower beside it; None: only a trace can count the tower."""
    outside = outside_shape(config, architecture.hidden_size)
    if outside is None:
        return None
    return replace(
        architecture,
        model_type=config.text("model_type"),
        vocabulary=replace(architecture.vocabulary, tie_word_embeddings=is_tied(config)),
        outside=outside,
    )


def is_tied(config: Config) -> bool:
    """Whether the lm_head is the embedding: the wrapper's own key decides, not ``text_config``'s.

    Configs that older versions of transformers saved for these types have it in ``text_config``
    alone (configuration_llava.py, configuration_qwen2_5_vl.py).
    """
    model_type = config.text("model_type")
    tied = config.flag("tie_word_embeddings", default=WRAPPERS[model_type].tied)
    if tied or model_type not in TIED_INSIDE or not config.has("text_config"):
        return tied
    return config.section("text_config").flag("tie_word_embeddings", default=False)


TIED_INSIDE = frozenset({"llava", "qwen2_vl", "qwen2_5_vl", "glm4v"})
"""Types for which a tied ``text_config`` ties the whole model."""
