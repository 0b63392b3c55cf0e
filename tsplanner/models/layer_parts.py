"""Parts of a decoder layer that the readers of several families share."""

from __future__ import annotations

from dataclasses import replace

from memory_models.architecture import Activation, Architecture, Linear, Role
from memory_models.settings import from_flat
from tsplanner.errors import quoted
from tsplanner.models.config import Config

ACTIVATIONS = {
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_NEW,
    "gelu_fast": Activation.GELU_NEW,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "relu": Activation.RELU,
}


def attention(
    config: Config, *, bias: bool = False, output_bias: bool = False
) -> tuple[Linear, ...]:
    """Separate q, k, v and output projections: [D, HA], 2 x [D, KA], [HA, D]."""
    hidden, size = config.positive("hidden_size"), config.head_dim
    query, key_value = config.heads * size, config.key_value_heads * size
    return (
        Linear(name="q_proj", role=Role.QUERY, in_features=hidden, out_features=query, bias=bias),
        Linear(name="k_proj", role=Role.KEY, in_features=hidden, out_features=key_value, bias=bias),
        Linear(
            name="v_proj", role=Role.VALUE, in_features=hidden, out_features=key_value, bias=bias
        ),
        Linear(
            name="o_proj",
            role=Role.OUTPUT,
            in_features=query,
            out_features=hidden,
            bias=output_bias,
        ),
    )


def gated_mlp(
    hidden: int, intermediate: int, *, bias: bool = False, count: int = 1
) -> tuple[Linear, ...]:
    """Gate, up and down projections (SwiGLU, GeGLU)."""
    gate = Linear(
        name="gate_proj",
        role=Role.GATE,
        in_features=hidden,
        out_features=intermediate,
        bias=bias,
        count=count,
    )
    return (
        gate,
        replace(gate, name="up_proj", role=Role.UP),
        Linear(
            name="down_proj",
            role=Role.DOWN,
            in_features=intermediate,
            out_features=hidden,
            bias=bias,
            count=count,
        ),
    )


def plain_mlp(
    hidden: int, intermediate: int, *, names: tuple[str, str], bias: bool = True
) -> tuple[Linear, ...]:
    """Two projections with an activation between them: [D, F] and [F, D]."""
    up, down = names
    return (
        Linear(name=up, role=Role.UP, in_features=hidden, out_features=intermediate, bias=bias),
        Linear(name=down, role=Role.DOWN, in_features=intermediate, out_features=hidden, bias=bias),
    )


def rotary_dim(config: Config, default: float) -> int:
    """Elements of each head that are rotated; ``default``: the family's share of a head.

    Source: transformers up to 4 has the share as a key, transformers 5 in ``rope_parameters``.
    """
    section = config.section("rope_parameters") if config.has("rope_parameters") else config
    key = "partial_rotary_factor"
    holder = section if section.has(key) else config
    share = holder.number(key, default) or default
    if not 0 < share <= 1:
        raise config.error(key, f"must lie above 0 and be at most 1, not {share:g}")
    return int(config.head_dim * share)


EVERY_LAYER = frozenset({"mistral", "mixtral", "phi3", "starcoder2"})
"""Families whose sliding window, if the config has one, applies to every layer."""


PATTERNS = {"gemma2": 2, "gemma3_text": 6, "olmo3": 4, "cohere2": 4}
"""Families of which every p-th layer sees all positions and the others a window."""


def sliding_layers(config: Config) -> int:
    """Number of decoder layers whose attention is limited to a sliding window.

    ``layer_types`` lists these layers. An older config has a pattern instead: all layers except
    every p-th (``PATTERNS``), or the layers from ``max_window_layers`` on (Qwen,
    with ``use_sliding_window``). Source: transformers' configuration classes.
    """
    kind, layers = config.text("model_type"), config.positive("num_hidden_layers")
    types = config.optional("layer_types")
    if isinstance(types, list):
        return types.count("sliding_attention")
    if config.optional_positive("sliding_window") is None:
        return 0
    if kind in EVERY_LAYER:
        return layers
    if kind in PATTERNS:
        return layers - layers // config.positive("sliding_window_pattern", PATTERNS[kind])
    if config.flag("use_sliding_window", default=False):
        return max(0, layers - config.positive("max_window_layers", 28))
    return 0


ROPE_KEYS = ("rope_scaling", "rope_parameters")
"""The section on rotary positions, by transformers up to 4 and from 5 on."""


def extended_positions(config: Config) -> int | None:
    """Positions that YaRN extends the model to; None: the config names no YaRN, or no factor.

    Other kinds of scaling stand in configs whose ``max_position_embeddings`` counts them already.
    Source: transformers' modeling_rope_utils.py.
    """
    for key in ROPE_KEYS:
        rope = config.optional(key)
        if not isinstance(rope, dict) or "yarn" not in (rope.get("rope_type"), rope.get("type")):
            continue
        section = config.section(key)
        original = section.positive(
            "original_max_position_embeddings", config.positive("max_position_embeddings", 2048)
        )
        factor = section.number("factor", 1.0)
        return None if not factor or factor < 1 else round(min(factor, LARGEST_FACTOR) * original)
    return None


LARGEST_FACTOR = 1024.0
"""Above every factor that was published."""


def architecture_of(
    name: str, config: Config, linears: tuple[Linear, ...], **traits: object
) -> Architecture:
    """An Architecture from the keys that all families share; ``traits`` override these keys."""
    hidden = config.positive("hidden_size")
    fields: dict[str, object] = {
        "name": name,
        "model_type": config.text("model_type"),
        "hidden_size": hidden,
        # OPT's config lacks this key, so the key is read only where no trait is given.
        "intermediate_size": traits.get("intermediate_size")
        or config.positive("intermediate_size"),
        "num_hidden_layers": config.positive("num_hidden_layers"),
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.positive("vocab_size"),
        "max_position_embeddings": config.positive("max_position_embeddings", 2048),
        "extended_positions": extended_positions(config),
        "tie_word_embeddings": config.flag("tie_word_embeddings", default=False),
        "linears": linears,
        "norm_width_per_layer": 2 * hidden,
        "activation": activation_of(config),
        "sliding_window": config.optional_positive("sliding_window"),
        "sliding_layers": sliding_layers(config),
    }
    return from_flat(Architecture, **{**fields, **traits})


def activation_of(config: Config, key: str = "hidden_act") -> Activation:
    """The activation of the MLP by its name in the config."""
    found = config.text(key, "silu")
    if found not in ACTIVATIONS:
        raise config.unread(key, f"has the unknown activation {quoted(found)}")
    return ACTIVATIONS[found]
