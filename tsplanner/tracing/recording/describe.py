"""The shapes of a model that has no reader, read off the real model on ``meta``."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

from torch import nn

from memory_models.architecture import (
    Architecture,
    AttentionShape,
    LayerShape,
    Linear,
    MlpShape,
    Norm,
    NormShape,
    OutsideShape,
    PositionShape,
    Role,
    Tensors,
    VocabularyShape,
)
from memory_models.states.weights import total_parameters
from tsplanner.errors import TsplannerError
from tsplanner.training.adapters import decoder_layers, layer_places
from tsplanner.training.language_model import text_config, unread_layers, unread_parameters
from tsplanner.training.targets import is_transposed, linear_names, refusal

EXPERT_DIMENSIONS = 3
"""A parameter [experts, rows, columns] holds the matrices of all experts."""
NORM_NAME = re.compile(r"norm|ln_f|layernorm", re.IGNORECASE)


def describe(model: Any, name: str, key: str) -> Architecture:
    """The architecture of a causal model; ``key``: that of the recordings of its layers.

    Raises:
        TsplannerError: the model has no decoder layers, no embedding or no lm_head.
    """
    config = text_config(model.config)
    prefix, layers = decoder_layers(model)
    count = len(layers) - len(unread_layers(model))
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if embedding is None or head is None:
        raise TsplannerError(f"{type(model).__name__} has no lm_head: it writes no text.")
    rows, hidden = embedding.weight.shape
    vocabulary = head.weight.shape[0]
    found = _Inventory(model, prefix)
    outer = {id(embedding.weight), id(head.weight)}
    if getattr(head, "bias", None) is not None:
        outer.add(id(head.bias))
    norm = found.final_norm(model, hidden, outer)
    positions = found.learned_positions(model, embedding, outer)
    heads = _number(config, "num_attention_heads", "n_head", "num_heads") or 1
    key_value = _number(config, "num_key_value_heads", "num_kv_heads") or heads
    window = _window(config)
    described = Architecture(
        name=name,
        model_type=str(getattr(model.config, "model_type", "")),
        hidden_size=hidden,
        num_hidden_layers=count,
        attention=AttentionShape(
            num_attention_heads=heads,
            num_key_value_heads=key_value if heads % key_value == 0 else heads,
            head_dim=_number(config, "head_dim", "v_head_dim") or max(1, hidden // heads),
            sliding_window=window,
            sliding_layers=_sliding_layers(config, count) if window else 0,
            attn_logit_softcapping=getattr(config, "attn_logit_softcapping", None),
        ),
        mlp=MlpShape(
            intermediate_size=_number(config, "intermediate_size", "ffn_dim", "n_inner")
            or 4 * hidden,
            num_experts_per_tok=_number(
                config, "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"
            )
            or 0,
        ),
        norms=NormShape(
            kind=Norm.LAYER if norm == 2 else Norm.RMS,
            norm_width_per_layer=0,
            norms_per_layer=found.norms_per_layer(layers),
            final_norm=norm > 0,
        ),
        vocabulary=VocabularyShape(
            vocab_size=vocabulary,
            tie_word_embeddings=head.weight is embedding.weight,
            head_bias=getattr(head, "bias", None) is not None,
            final_logit_softcapping=getattr(config, "final_logit_softcapping", None),
        ),
        positions=PositionShape(
            max_position_embeddings=_number(
                config, "max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"
            )
            or 1 << 20,
            learned_position_count=positions,
        ),
        layer=LayerShape(
            linears=found.linears(),
            tensors=found.layer_tensors(outer),
            recorded=key,
            first_parameters=sum(parameter.numel() for parameter in layers[0].parameters()),
        ),
        # Mllama's embedding has rows for images, which its head cannot write.
        outside=found.outside(outer, rows=rows - vocabulary, hidden=hidden),
    )
    total, own = total_parameters(described), sum(p.numel() for p in model.parameters())
    if total != own:
        raise TsplannerError(
            f"{type(model).__name__} has {own:,} parameters and its modules hold {total:,}: layers "
            "that share matrices cannot be planned; tsplanner estimate --trace sizes one setting."
        )
    return described


def _number(config: Any, *names: str) -> int | None:
    """The first of these keys that holds a whole number above zero."""
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _window(config: Any) -> int | None:
    if getattr(config, "use_sliding_window", True) is False:
        return None
    return _number(config, "sliding_window")


def _sliding_layers(config: Any, layers: int) -> int:
    types = getattr(config, "layer_types", None)
    if not isinstance(types, (list, tuple)):
        return layers
    return sum("sliding" in str(kind) for kind in types)


class _Inventory:
    """Parameters of a model by the room of the architecture that they belong to."""

    def __init__(self, model: Any, prefix: str) -> None:
        self.inside = re.compile(rf"{re.escape(prefix)}\.{layer_places(model)}\.")
        self.targets = set(linear_names(model))
        last = {name.rsplit(".", 1)[-1] for name in self.targets}
        self.bare = {name for name in last if refusal(model, name)}
        self.modules = dict(model.named_modules())
        self.parameters = dict(model.named_parameters())
        self.unread = {id(parameter) for parameter in unread_parameters(model)}
        """Parameters that no row of text reaches: those of a vision tower."""
        self.linear_parts: set[int] = set()
        """Parameters of linears, which are not counted again as tensors."""

    def linears(self) -> tuple[Linear, ...]:
        """Linears and fused experts of all layers, each with the number of layers that have it."""
        counts: Counter[Linear] = Counter()
        for name, module in self.modules.items():
            if not self.inside.match(name):
                continue
            short = name.rsplit(".", 1)[-1]
            if has_matrix(module):
                counts[self._linear(name, short, module)] += 1
            for key, parameter in module.named_parameters(recurse=False):
                if parameter.dim() == EXPERT_DIMENSIONS:
                    counts[self._experts(key, parameter)] += 1
        return tuple(replace(linear, layers=count) for linear, count in counts.items())

    def _linear(self, name: str, short: str, module: nn.Module) -> Linear:
        rows, columns = module.weight.shape
        if is_transposed(module):
            rows, columns = columns, rows
        bias = getattr(module, "bias", None)
        self.linear_parts |= {id(module.weight)} | ({id(bias)} if bias is not None else set())
        return Linear(
            name=short,
            role=self._role(name, short),
            in_features=columns,
            out_features=rows,
            bias=bias is not None,
        )

    def _role(self, name: str, short: str) -> Role:
        if name not in self.targets:
            return Role.ROUTER
        return Role.BARE if short in self.bare else Role.OTHER

    def _experts(self, key: str, parameter: nn.Parameter) -> Linear:
        count, rows, columns = parameter.shape
        self.linear_parts.add(id(parameter))
        return Linear(
            name=key, role=Role.OTHER, in_features=columns, out_features=rows, count=count
        )

    def layer_tensors(self, outer: set[int]) -> tuple[Tensors, ...]:
        """Other parameters of all layers."""
        return self._tensors(outer, inside=True)

    def outside(self, outer: set[int], *, rows: int, hidden: int) -> OutsideShape:
        """Parameters outside the layers, as far as nothing else counts them.

        ``rows``: those of the embedding beyond the vocabulary.
        """
        more = (Tensors(rows=rows, columns=hidden),) if rows > 0 else ()
        return OutsideShape(
            outside_linears=self._outside_linears(outer, unread=False),
            frozen_linears=self._outside_linears(outer, unread=True),
            outside_tensors=self._tensors(outer, inside=False) + more,
            frozen_tensors=self._tensors(outer, inside=False, unread=True),
        )

    def _outside_linears(self, outer: set[int], *, unread: bool) -> tuple[Linear, ...]:
        counts: Counter[Linear] = Counter()
        for name, module in self.modules.items():
            if self.inside.match(name) or not has_matrix(module) or id(module.weight) in outer:
                continue
            if (id(module.weight) in self.unread) is unread:
                counts[self._linear(name, "outside", module)] += 1
        return tuple(
            replace(linear, role=Role.OTHER, count=count) for linear, count in counts.items()
        )

    def _tensors(
        self, outer: set[int], *, inside: bool, unread: bool = False
    ) -> tuple[Tensors, ...]:
        shapes: Counter[tuple[int, int]] = Counter()
        for name, parameter in self.parameters.items():
            if bool(self.inside.match(name)) is not inside:
                continue
            if (id(parameter) in self.unread) is not unread:
                continue
            if id(parameter) in outer or id(parameter) in self.linear_parts:
                continue
            columns = parameter.shape[-1] if parameter.dim() > 1 else parameter.numel()
            if parameter.numel():
                shapes[parameter.numel() // columns, columns] += 1
        return tuple(
            Tensors(rows=rows, columns=columns, copies=count)
            for (rows, columns), count in shapes.items()
        )

    def final_norm(self, model: Any, hidden: int, outer: set[int]) -> int:
        """Number of parameters [D] of the norm before the lm_head; they join ``outer``."""
        _, layers = decoder_layers(model)
        body = next(m for m in self.modules.values() if layers in m.children())
        for name, module in body.named_children():
            own = list(module.parameters(recurse=False))
            if NORM_NAME.search(name) and own and all(p.shape == (hidden,) for p in own):
                outer |= {id(parameter) for parameter in own}
                return len(own)
        return 0

    def learned_positions(self, model: Any, embedding: nn.Module, outer: set[int]) -> int:
        """Elements of a learned position table; its parameter joins ``outer``."""
        for name, module in self.modules.items():
            learned = isinstance(module, nn.Embedding) and module is not embedding
            short = name.rsplit(".", 1)[-1]
            if learned and short in ("wpe", "embed_positions", "position_embeddings"):
                outer.add(id(module.weight))
                return int(module.weight.numel())
        return 0

    def norms_per_layer(self, layers: nn.ModuleList) -> int:
        """Number of norms of the layer that has most."""
        return max(
            sum("norm" in type(module).__name__.lower() for module in layer.modules())
            for layer in layers
        )


def has_matrix(module: nn.Module) -> bool:
    """Whether a module has a matrix of its own: ``nn.Linear``, or GPT-2's ``Conv1D``."""
    return isinstance(module, nn.Linear) or is_transposed(module)
