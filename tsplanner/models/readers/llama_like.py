"""Families whose layers are Llama's but for norms, biases, constant factors or fused matrices."""

from __future__ import annotations

from memory_models.architecture import Architecture, Linear, Norm, Role
from memory_models.settings import changed
from tsplanner.models.config import Config
from tsplanner.models.layer_parts import architecture_of, attention, gated_mlp, rotary_dim


def granite(name: str, config: Config) -> Architecture:
    """Granite 3: Llama with constant factors on embeddings, branches and logits."""
    return changed(
        smollm3(name, config),
        scales_embedding=True,
        scales_branches=True,
        scales_logits=True,
        tie_word_embeddings=config.flag("tie_word_embeddings", default=False),
    )


def smollm3(name: str, config: Config) -> Architecture:
    """SmolLM3: Llama; some layers rotate nothing, which only shortens their longest moment."""
    bias = config.flag("attention_bias", default=False)
    linears = attention(config, bias=bias, output_bias=bias) + gated_mlp(
        config.positive("hidden_size"),
        config.positive("intermediate_size"),
        bias=config.flag("mlp_bias", default=False),
    )
    tied = config.flag("tie_word_embeddings", default=True)
    return architecture_of(name, config, linears, tie_word_embeddings=tied)


def olmo2(name: str, config: Config) -> Architecture:
    """OLMo 2 and 3: norms after attention and MLP, and norms over all query and all key heads."""
    bias = config.flag("attention_bias", default=False)
    linears = attention(config, bias=bias, output_bias=bias) + gated_mlp(
        config.positive("hidden_size"), config.positive("intermediate_size")
    )
    heads = config.heads + config.key_value_heads
    return architecture_of(
        name,
        config,
        linears,
        kind=Norm.RMS_FP32,
        norms_after=True,
        qk_norm=True,
        norm_width_per_layer=2 * config.positive("hidden_size") + heads * config.head_dim,
    )


def glm(name: str, config: Config) -> Architecture:
    """GLM-4 in transformers' first form: gate and up fused, half of each head rotated."""
    hidden, middle = config.positive("hidden_size"), config.positive("intermediate_size")
    linears = (
        *attention(config, bias=config.flag("attention_bias", default=True)),
        Linear(name="gate_up_proj", role=Role.GATE_UP, in_features=hidden, out_features=2 * middle),
        Linear(name="down_proj", role=Role.DOWN, in_features=middle, out_features=hidden),
    )
    return architecture_of(name, config, linears, rotary_dim=rotary_dim(config, 0.5))


def glm4(name: str, config: Config) -> Architecture:
    """GLM-4 of April 2025: as `glm` with four norms per layer."""
    width = 4 * config.positive("hidden_size")
    return changed(glm(name, config), norms_per_layer=4, norm_width_per_layer=width)
