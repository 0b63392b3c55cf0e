"""Families whose attention and MLP read one norm side by side, and their relatives."""

from __future__ import annotations

from dataclasses import replace

from memory_models.architecture import Activation, Architecture, Linear, Norm
from memory_models.settings import changed
from tsplanner.models.config import Config
from tsplanner.models.layer_parts import (
    activation_of,
    architecture_of,
    attention,
    gated_mlp,
    plain_mlp,
    rotary_dim,
)


def phi(name: str, config: Config) -> Architecture:
    """Phi-1 and Phi-2: one LayerNorm per layer, biases everywhere, part of each head rotated."""
    hidden = config.positive("hidden_size")
    *projections, output = attention(config, bias=True, output_bias=True)
    linears = (
        *projections,
        replace(output, name="dense"),
        *plain_mlp(hidden, config.positive("intermediate_size"), names=("fc1", "fc2")),
    )
    normed = config.flag("qk_layernorm", default=False)
    act = activation_of(config) if config.has("hidden_act") else Activation.GELU_TANH
    return architecture_of(
        name,
        config,
        linears,
        kind=Norm.LAYER,
        activation=act,
        parallel_residual=True,
        norms_per_layer=1,
        norm_width_per_layer=hidden + (2 * (hidden // config.heads) if normed else 0),
        qk_norm=normed,
        rotary_dim=rotary_dim(config, 0.5),
        head_bias=True,
    )


def cohere(name: str, config: Config) -> Architecture:
    """Command R: one LayerNorm without bias per layer, rotation in fp32, scaled logits."""
    hidden, bias = config.positive("hidden_size"), config.flag("attention_bias", default=False)
    linears = attention(config, bias=bias, output_bias=bias) + gated_mlp(
        hidden, config.positive("intermediate_size")
    )
    normed = config.flag("use_qk_norm", default=False)
    heads = config.heads + config.key_value_heads
    return architecture_of(
        name,
        config,
        linears,
        kind=Norm.LAYER_FP32,
        parallel_residual=True,
        norms_per_layer=1,
        norm_width_per_layer=hidden + (heads * config.head_dim if normed else 0),
        qk_norm=normed,
        rotary_in_fp32=True,
        scales_logits=True,
        tie_word_embeddings=config.flag("tie_word_embeddings", default=True),
    )


def cohere2(name: str, config: Config) -> Architecture:
    """Command R7B and A: as `cohere` without norms of queries and keys."""
    width = config.positive("hidden_size")
    return changed(cohere(name, config), qk_norm=False, norm_width_per_layer=width)


def stablelm(name: str, config: Config) -> Architecture:
    """StableLM: LayerNorm, a gated MLP, a part of each head rotated; the second line parallel."""
    hidden = config.positive("hidden_size")
    if config.flag("qk_layernorm", default=False):
        raise config.unread("qk_layernorm", "norms each head by itself")
    linears = attention(config, bias=config.flag("use_qkv_bias", default=False)) + gated_mlp(
        hidden, config.positive("intermediate_size")
    )
    parallel = config.flag("use_parallel_residual", default=False)
    norms = 1 if parallel else 2
    return architecture_of(
        name,
        config,
        linears,
        kind=Norm.LAYER,
        parallel_residual=parallel,
        holds_branch=not parallel,
        norms_per_layer=norms,
        norm_width_per_layer=norms * hidden,
        rotary_dim=rotary_dim(config, 0.25),
    )


def starcoder2(name: str, config: Config) -> Architecture:
    """StarCoder2: LayerNorm, grouped queries, a plain MLP, biases, dropouts on both branches."""
    hidden, bias = config.positive("hidden_size"), config.flag("use_bias", default=True)
    linears: tuple[Linear, ...] = (
        *attention(config, bias=bias, output_bias=bias),
        *plain_mlp(
            hidden, config.positive("intermediate_size"), names=("c_fc", "c_proj"), bias=bias
        ),
    )
    act = activation_of(config) if config.has("hidden_act") else Activation.GELU_TANH
    return architecture_of(
        name,
        config,
        linears,
        kind=Norm.LAYER,
        activation=act,
        dropouts_per_layer=2 if config.number("residual_dropout", 0.0) else 0,
        tie_word_embeddings=config.flag("tie_word_embeddings", default=True),
    )
