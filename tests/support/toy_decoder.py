"""Decoders small enough to count by hand.

The plain toy: 2 layers, D = 8, H = 2 heads of A = 4, K = 1, F = 16, V = 32. One block:

    q 8x8 = 64, k 8x4 = 32, v 32, o 64                       192
    gate 8x16 = 128, up 128, down 128                        384
    two norms of 8                                            16   592 together

    embedding 32x8 = 256, two blocks 1184, final norm 8, head 256: 1704
"""

from __future__ import annotations

from dataclasses import replace

from memory_models.architecture import (
    Activation,
    Architecture,
    Linear,
    Norm,
    Role,
    TimeSeriesEncoder,
)
from memory_models.settings import changed, from_flat

ENCODER = TimeSeriesEncoder(patch_size=4, num_layers=2, hidden_size=8)


def attention(hidden: int, query: int, key_value: int, *, bias: bool = False) -> tuple[Linear, ...]:
    """Separate projections."""
    rows = (
        ("q_proj", Role.QUERY, hidden, query),
        ("k_proj", Role.KEY, hidden, key_value),
        ("v_proj", Role.VALUE, hidden, key_value),
        ("o_proj", Role.OUTPUT, query, hidden),
    )
    return tuple(
        Linear(name=name, role=role, in_features=reads, out_features=writes, bias=bias)
        for name, role, reads, writes in rows
    )


def gated_mlp(hidden: int, middle: int, *, count: int = 1) -> tuple[Linear, ...]:
    """Gate, up and down."""
    rows = (
        ("gate_proj", Role.GATE, hidden, middle),
        ("up_proj", Role.UP, hidden, middle),
        ("down_proj", Role.DOWN, middle, hidden),
    )
    return tuple(
        Linear(name=name, role=role, in_features=reads, out_features=writes, count=count)
        for name, role, reads, writes in rows
    )


TOY = from_flat(
    Architecture,
    name="toy",
    model_type="llama",
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=4,
    vocab_size=32,
    max_position_embeddings=64,
    tie_word_embeddings=False,
    linears=attention(8, 8, 4) + gated_mlp(8, 16),
    norm_width_per_layer=16,
)
TIED = changed(TOY, name="tied", tie_word_embeddings=True)
WITH_ENCODER = replace(TOY, name="with encoder", encoder=ENCODER)
EXPERTS = changed(
    TOY,
    name="experts",
    linears=(
        *attention(8, 8, 4),
        Linear(name="gate", role=Role.ROUTER, in_features=8, out_features=4),
        *gated_mlp(8, 16, count=4),
    ),
    num_experts_per_tok=2,
)
LAYER_NORM = changed(
    TOY,
    name="layer norm",
    kind=Norm.LAYER,
    activation=Activation.RELU,
    num_key_value_heads=2,
    tie_word_embeddings=True,
    learned_position_count=66 * 8,
    linears=(
        *attention(8, 8, 8, bias=True),
        Linear(name="fc1", role=Role.UP, in_features=8, out_features=16, bias=True),
        Linear(name="fc2", role=Role.DOWN, in_features=16, out_features=8, bias=True),
    ),
)
WIDE = changed(
    TOY,
    name="wide",
    hidden_size=256,
    intermediate_size=512,
    head_dim=64,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=5000,
    max_position_embeddings=4096,
    linears=attention(256, 256, 128) + gated_mlp(256, 512),
    norm_width_per_layer=512,
)
ALL = (TOY, TIED, WITH_ENCODER, EXPERTS, LAYER_NORM, WIDE)
