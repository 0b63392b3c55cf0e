"""From a config.json to an Architecture: one reader per family, and a table of the readers.

A reader is a pure function of the decoded config. Where a config.json leaves a key out, the default
of transformers' configuration class is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from memory_models.architecture import (
    Activation,
    Architecture,
    Linear,
    Norm,
    Role,
    TimeSeriesEncoder,
)
from memory_models.settings import changed
from tsplanner.models.config import Config
from tsplanner.models.layer_parts import activation_of, architecture_of, attention, gated_mlp
from tsplanner.models.readers.llama_like import glm, glm4, granite, olmo2, smollm3
from tsplanner.models.readers.parallel import cohere, cohere2, phi, stablelm, starcoder2

Reader = Callable[[str, Config], Architecture]


def _llama(name: str, config: Config) -> Architecture:
    """Llama and Mistral: SwiGLU, grouped queries, RMSNorm, biases only if the config has them."""
    bias = config.flag("attention_bias", default=False)
    linears = attention(config, bias=bias, output_bias=bias) + gated_mlp(
        config.positive("hidden_size"),
        config.positive("intermediate_size"),
        bias=config.flag("mlp_bias", default=False),
    )
    return architecture_of(name, config, linears)


def _qwen2(name: str, config: Config) -> Architecture:
    """Qwen2 and 2.5: as Llama with biases on q, k and v."""
    # transformers writes these biases into Qwen2's code, so no key of the config is asked.
    linears = attention(config, bias=True) + gated_mlp(
        config.positive("hidden_size"), config.positive("intermediate_size")
    )
    return architecture_of(name, config, linears)


def _qwen3(name: str, config: Config) -> Architecture:
    """Qwen3: as Llama with a norm over every query and key head."""
    bias = config.flag("attention_bias", default=False)
    linears = attention(config, bias=bias, output_bias=bias) + gated_mlp(
        config.positive("hidden_size"), config.positive("intermediate_size")
    )
    width = 2 * config.positive("hidden_size") + 2 * config.head_dim
    return architecture_of(name, config, linears, qk_norm=True, norm_width_per_layer=width)


def _mixture(
    name: str, config: Config, projections: tuple[Linear, ...], *, experts: str, width: str
) -> Architecture:
    """A decoder whose MLP is a router and ``experts`` gated MLPs of size ``width``."""
    hidden, count = config.positive("hidden_size"), config.positive(experts)
    router = Linear(name="gate", role=Role.ROUTER, in_features=hidden, out_features=count)
    linears = (*projections, router, *gated_mlp(hidden, config.positive(width), count=count))
    return architecture_of(
        name,
        config,
        linears,
        intermediate_size=config.positive(width),
        num_experts_per_tok=config.positive("num_experts_per_tok", 2),
    )


def _mixtral(name: str, config: Config) -> Architecture:
    """Mixtral: Mistral's attention, a mixture of SwiGLU experts."""
    return _mixture(
        name, config, attention(config), experts="num_local_experts", width="intermediate_size"
    )


def _qwen3_moe(name: str, config: Config) -> Architecture:
    """Qwen3 mixtures: q/k norms, every layer sparse (``decoder_sparse_step`` 1)."""
    if config.positive("decoder_sparse_step", 1) != 1 or config.optional("mlp_only_layers"):
        raise config.unread("mlp_only_layers", "mixes dense and sparse layers")
    # Newer versions of transformers write this number under Mixtral's key.
    experts = "num_experts" if config.has("num_experts") else "num_local_experts"
    bias = config.flag("attention_bias", default=False)
    projections = attention(config, bias=bias, output_bias=bias)
    found = _mixture(name, config, projections, experts=experts, width="moe_intermediate_size")
    width = 2 * found.hidden_size + 2 * found.attention.head_dim
    return changed(found, qk_norm=True, norm_width_per_layer=width)


def _gemma(name: str, config: Config) -> Architecture:
    """Gemma 1: as Llama, GeGLU, tied head."""
    bias = config.flag("attention_bias", default=False)
    linears = attention(config, bias=bias, output_bias=bias) + gated_mlp(
        config.positive("hidden_size"), config.positive("intermediate_size")
    )
    return architecture_of(
        name,
        config,
        linears,
        activation=Activation.GELU_TANH,
        norm_scales_in_fp32=True,
        tie_word_embeddings=config.flag("tie_word_embeddings", default=True),
    )


def _gemma2(name: str, config: Config) -> Architecture:
    """Gemma 2: four norms per layer, soft-capped logits and attention scores."""
    return changed(
        _gemma(name, config),
        norms_per_layer=4,
        norm_width_per_layer=4 * config.positive("hidden_size"),
        final_logit_softcapping=config.number("final_logit_softcapping", 30.0),
        attn_logit_softcapping=config.number("attn_logit_softcapping", 50.0),
    )


def _gemma3(name: str, config: Config) -> Architecture:
    """Gemma 3 (text): four norms per layer and q/k norms, no soft caps."""
    hidden = config.positive("hidden_size")
    return changed(
        _gemma(name, config),
        norms_per_layer=4,
        qk_norm=True,
        norm_width_per_layer=4 * hidden + 2 * config.head_dim,
    )


def _phi3(name: str, config: Config) -> Architecture:
    """Phi-3 and Phi-4: q, k, v fused in one matrix, gate and up in another."""
    hidden, middle = config.positive("hidden_size"), config.positive("intermediate_size")
    query = config.heads * config.head_dim
    fused = query + 2 * config.key_value_heads * config.head_dim
    linears = (
        Linear(name="qkv_proj", role=Role.QKV, in_features=hidden, out_features=fused),
        Linear(name="o_proj", role=Role.OUTPUT, in_features=query, out_features=hidden),
        Linear(name="gate_up_proj", role=Role.GATE_UP, in_features=hidden, out_features=2 * middle),
        Linear(name="down_proj", role=Role.DOWN, in_features=middle, out_features=hidden),
    )
    return architecture_of(name, config, linears)


def _opt(name: str, config: Config) -> Architecture:
    """OPT: LayerNorm, ReLU, biases, a learned position table with two more rows than positions."""
    hidden, middle = config.positive("hidden_size"), config.positive("ffn_dim")
    if config.positive("word_embed_proj_dim", hidden) != hidden:
        raise config.unread("word_embed_proj_dim", f"differs from hidden_size {hidden}")
    if not config.flag("do_layer_norm_before", default=True):
        raise config.unread("do_layer_norm_before", "puts the norms behind the blocks")
    query = Linear(
        name="q_proj", role=Role.QUERY, in_features=hidden, out_features=hidden, bias=True
    )
    linears = (
        query,
        replace(query, name="k_proj", role=Role.KEY),
        replace(query, name="v_proj", role=Role.VALUE),
        replace(query, name="out_proj", role=Role.OUTPUT),
        Linear(name="fc1", role=Role.UP, in_features=hidden, out_features=middle, bias=True),
        Linear(name="fc2", role=Role.DOWN, in_features=middle, out_features=hidden, bias=True),
    )
    positions = config.positive("max_position_embeddings", 2048) + 2
    return architecture_of(
        name,
        config,
        linears,
        intermediate_size=middle,
        kind=Norm.LAYER,
        activation=activation_of(config, "activation_function")
        if config.has("activation_function")
        else Activation.RELU,
        learned_position_count=positions * hidden,
        dropouts_per_layer=2 if config.number("dropout", 0.1) else 0,
        tie_word_embeddings=config.flag("tie_word_embeddings", default=True),
    )


def _gpt_neox(name: str, config: Config) -> Architecture:
    """GPT-NeoX (Pythia): LayerNorm, GELU, fused qkv, biases, untied head."""
    hidden, middle = config.positive("hidden_size"), config.positive("intermediate_size")
    bias = config.flag("attention_bias", default=True)
    linears = (
        Linear(
            name="query_key_value",
            role=Role.QKV,
            in_features=hidden,
            out_features=3 * hidden,
            bias=bias,
        ),
        Linear(name="dense", role=Role.OUTPUT, in_features=hidden, out_features=hidden, bias=bias),
        # ``attention_bias`` does not reach the MLP, whose linears always have a bias.
        Linear(
            name="dense_h_to_4h", role=Role.UP, in_features=hidden, out_features=middle, bias=True
        ),
        Linear(
            name="dense_4h_to_h", role=Role.DOWN, in_features=middle, out_features=hidden, bias=True
        ),
    )
    activation = activation_of(config) if config.has("hidden_act") else Activation.GELU
    parallel = config.flag("use_parallel_residual", default=True)
    return architecture_of(
        name, config, linears, kind=Norm.LAYER, activation=activation, parallel_residual=parallel
    )


def _encoder(config: Config) -> TimeSeriesEncoder:
    """The encoder from ``config.ts`` of a ChatTS checkpoint.

    Older releases call the longest series ``max_length``.
    """
    ts = config.section("ts")
    return TimeSeriesEncoder(
        patch_size=ts.positive("patch_size"),
        num_layers=ts.positive("num_layers"),
        hidden_size=ts.positive("hidden_size"),
        embedding_dim=ts.positive("embedding_dim", 16),
        max_sequence_length=ts.positive("max_sequence_length", ts.positive("max_length", 32768)),
        use_position_embedding=ts.flag("use_position_embedding", default=False),
        use_position_idx=ts.flag("use_position_idx", default=False),
        use_layer_norm=ts.flag("use_layer_norm", default=False),
    )


def _chatts(name: str, config: Config) -> Architecture:
    """ChatTS on Qwen2, as our own code runs it.

    For the authors' code see memory_models/states/chatts_remote_code.py.
    """
    return replace(_qwen2(name, config), encoder=_encoder(config))


def _qwen3ts(name: str, config: Config) -> Architecture:
    """ChatTS on Qwen3."""
    return replace(_qwen3(name, config), encoder=_encoder(config))


READERS: Mapping[str, Reader] = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "mixtral": _mixtral,
    "qwen3_moe": _qwen3_moe,
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "phi3": _phi3,
    "opt": _opt,
    "gpt_neox": _gpt_neox,
    "chatts": _chatts,
    "qwen3ts": _qwen3ts,
    "granite": granite,
    "smollm3": smollm3,
    "olmo2": olmo2,
    "olmo3": olmo2,
    "glm": glm,
    "glm4": glm4,
    "phi": phi,
    "cohere": cohere,
    "cohere2": cohere2,
    "stablelm": stablelm,
    "starcoder2": starcoder2,
}

WITH_SERIES: Mapping[str, str] = {"qwen2": "chatts", "qwen3": "qwen3ts"}
"""Model type of a decoder -> model type of the same decoder with a time-series encoder."""
