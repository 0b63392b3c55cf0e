"""ChatTS for transformers 5: a Qwen decoder that reads patches of series between its tokens.

The parameters have the names of the published checkpoints, so their weights load without a map.
The code is our own and follows ChatTS only in names and shapes; no remote code runs.

Notation: B rows, T text tokens of the longest row, K series of all rows, N points of the longest
series, P patches of all series together, S positions after merging, D hidden size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

IGNORED_LABEL = -100
"""Label of a position that is not trained on."""


class ChatTSConfig(Qwen2Config):
    """A Qwen2 config with ``ts``, ``ts_token_start_index`` and ``ts_token_end_index``."""

    model_type = "chatts"


class Qwen3TSConfig(Qwen3Config):
    """A Qwen3 config with ``ts``, ``ts_token_start_index`` and ``ts_token_end_index``."""

    model_type = "qwen3ts"


class Merged(NamedTuple):
    """A batch in which patches have replaced the token pairs of their series."""

    inputs_embeds: torch.Tensor
    """[B, S, D]"""
    attention_mask: torch.Tensor
    """[B, S]; 1 on text and patches, 0 on padding."""
    labels: torch.Tensor | None
    """[B, S]; -100 on patches and padding."""


class TimeSeriesEmbedding(nn.Module):
    """An MLP over values and point positions, which makes one decoder position per patch."""

    def __init__(self, ts: dict[str, Any]) -> None:
        super().__init__()
        self.patch_size: int = ts["patch_size"]
        self.num_features: int = ts.get("num_features", 2)
        self.max_sequence_length: int = ts.get("max_sequence_length", ts.get("max_length", 32768))
        self.use_position_idx = bool(ts.get("use_position_idx", False))
        width, embedding_dim = self.patch_size, ts.get("embedding_dim", 16)
        self.position_embedding: nn.Embedding | None = None
        if ts.get("use_position_embedding", False):
            # The last row of the table is for points that only fill the last patch of a series.
            self.position_embedding = nn.Embedding(self.max_sequence_length + 1, embedding_dim)
            width += self.patch_size * embedding_dim
        elif self.use_position_idx:
            width += self.patch_size
        layers: list[nn.Module] = [nn.Linear(width, ts["hidden_size"])]
        for _ in range(ts["num_layers"] - 1):
            layers += [nn.GELU(), nn.Linear(ts["hidden_size"], ts["hidden_size"])]
        if ts.get("use_layer_norm", False):
            layers.append(nn.LayerNorm(ts["hidden_size"]))
        self.mlp = nn.Sequential(*layers)
        # transformers (modeling_utils.py, _initialize_weights) initialises modules one by one, and
        # a linear does not know its parent. So each part carries the mark that `_init_weights`
        # looks for.
        for module in self.modules():
            module.encodes_series = True

    def forward(
        self, timeseries: torch.Tensor, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed every patch of every series.

        ``timeseries``: [K, 2N, 1], pairs (value, 1.0), zeros after the end of a series.
        Returns [P, D] in ``dtype``, series after series, and the patches of each series [K].
        """
        points = timeseries.reshape(timeseries.shape[0], -1, self.num_features)
        # The points are counted before any cast, because bf16 cannot add up more than 256 ones.
        lengths = points[..., -1].long().sum(dim=1)
        patches = (lengths + self.patch_size - 1) // self.patch_size
        position, series = self._point_grid(lengths, patches)
        filled = torch.minimum(position, lengths[series, None] - 1)
        values = points[series[:, None], filled, 0].to(dtype)
        features = self._features(values, position, lengths, series)
        return self.mlp(features).to(dtype), patches

    def _point_grid(
        self, lengths: torch.Tensor, patches: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Position of each point in its series [P, patch], and the series of each patch [P]."""
        series = torch.repeat_interleave(
            torch.arange(lengths.shape[0], device=lengths.device), patches
        )
        first_patch = torch.cumsum(patches, dim=0) - patches
        patch = torch.arange(series.shape[0], device=lengths.device) - first_patch[series]
        within = torch.arange(self.patch_size, device=lengths.device)
        return patch[:, None] * self.patch_size + within, series

    def _features(
        self,
        values: torch.Tensor,
        position: torch.Tensor,
        lengths: torch.Tensor,
        series: torch.Tensor,
    ) -> torch.Tensor:
        """Input of the MLP for each patch: [P, width]."""
        beyond = position >= lengths[series, None]
        if self.position_embedding is not None:
            rows = position.masked_fill(beyond, self.max_sequence_length)
            located = self.position_embedding(rows).flatten(1).to(values.dtype)
            return torch.cat([values, located], dim=1)
        if self.use_position_idx:
            share = position / (lengths.max() - 1).clamp(min=1)
            share = share.masked_fill(beyond, -1.0).to(values.dtype)
            return torch.stack([values, share], dim=-1).flatten(1)
        return values


class _ReadsSeries:
    """Adds to a decoder the encoder, the merge of patches, and a forward that takes series."""

    def _add_encoder(self, config: Any) -> None:
        self.ts_encoder = TimeSeriesEmbedding(config.ts)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]
        if not getattr(module, "encodes_series", False):
            return
        # With the decoder's standard deviation of 0.02 a signal would vanish over five GELU layers.
        # The position table starts smaller than the normalised values, which reach 3.
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.2)

    def merged_inputs(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        timeseries: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> Merged:
        """Replace each ``<ts><ts/>`` pair by the patches of its series.

        ``input_ids``: [B, T], padded on the right; ``timeseries``: [K, 2N, 1], rows in order.
        Generation starts from the result: ``generate(inputs_embeds=..., attention_mask=...)``.

        Raises ValueError if the number of pairs is not the number of series.
        """
        text = self.get_input_embeddings()(input_ids)  # type: ignore[attr-defined]
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if timeseries is None or timeseries.shape[0] == 0:
            return Merged(text, attention_mask, labels)
        patches, counts = self.ts_encoder(timeseries, text.dtype)
        config = self.config  # type: ignore[attr-defined]
        opens = input_ids == config.ts_token_start_index
        closes = input_ids == config.ts_token_end_index
        _check_pairs(opens, closes, len(counts))
        widths = torch.ones_like(input_ids)
        widths[closes] = 0
        widths[opens] = counts
        ends = widths.cumsum(dim=1)
        starts, length = ends - widths, int(ends[:, -1].max())
        row, token = torch.nonzero(~(opens | closes), as_tuple=True)
        place = starts[row, token]
        patch_row, patch_place = _patch_places(opens, starts, counts)
        embeds = text.new_zeros(text.shape[0], length, text.shape[2])
        embeds = embeds.index_put((row, place), text[row, token])
        embeds = embeds.index_put((patch_row, patch_place), patches)
        mask = attention_mask.new_zeros(text.shape[0], length)
        mask[row, place] = attention_mask[row, token]
        mask[patch_row, patch_place] = 1
        if labels is not None:
            merged_labels = labels.new_full((text.shape[0], length), IGNORED_LABEL)
            merged_labels[row, place] = labels[row, token]
            labels = merged_labels
        return Merged(embeds, mask, labels)

    def merged_hidden_states(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        timeseries: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The decoder's output [B, S, D] and labels [B, S], for a loss that applies the head."""
        merged = self.merged_inputs(input_ids, attention_mask, timeseries, labels)
        outputs = self.model(  # type: ignore[attr-defined]
            inputs_embeds=merged.inputs_embeds,
            attention_mask=needed_mask(merged.attention_mask),
            use_cache=False,
        )
        return outputs.last_hidden_state, merged.labels

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        timeseries: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits over text and patches [B, S, V], and with ``labels`` the loss."""
        if timeseries is not None and input_ids is not None:
            inputs_embeds, attention_mask, labels = self.merged_inputs(
                input_ids, attention_mask, timeseries, labels
            )
            input_ids = None
        if labels is not None:
            kwargs.setdefault("use_cache", False)
            attention_mask = needed_mask(attention_mask)
        return super().forward(  # type: ignore[misc]
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            labels=labels,
            **kwargs,
        )


def needed_mask(mask: torch.Tensor | None) -> torch.Tensor | None:
    """The mask [B, S], or None if all padding is on the right.

    In that case causal attention hides the padding from every position that counts, and attention
    can use a kernel without a mask.
    """
    if mask is None or bool((mask[:, 1:] <= mask[:, :-1]).all()):
        return None
    return mask


def _check_pairs(opens: torch.Tensor, closes: torch.Tensor, series: int) -> None:
    """Raise ValueError unless each start is followed by an end and each series has one pair."""
    paired = torch.equal(opens[:, :-1], closes[:, 1:]) and not bool(closes[:, 0].any())
    if not paired or int(opens.sum()) != series:
        raise ValueError(
            f"{int(opens.sum())} <ts> and {int(closes.sum())} <ts/> tokens for {series} series"
        )


def _patch_places(
    opens: torch.Tensor, starts: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and position of every patch [P]; ``nonzero`` returns pairs in the order of the series."""
    row, token = torch.nonzero(opens, as_tuple=True)
    first = torch.repeat_interleave(starts[row, token], counts)
    before = torch.repeat_interleave(torch.cumsum(counts, dim=0) - counts, counts)
    within = torch.arange(first.shape[0], device=first.device) - before
    return torch.repeat_interleave(row, counts), first + within


class Qwen2TSForCausalLM(_ReadsSeries, Qwen2ForCausalLM):
    """ChatTS-14B's class."""

    config_class = ChatTSConfig

    def __init__(self, config: ChatTSConfig) -> None:
        super(Qwen2ForCausalLM, self).__init__(config)
        self.model = Qwen2Model(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self._add_encoder(config)
        self.post_init()


class Qwen3TSForCausalLM(_ReadsSeries, Qwen3ForCausalLM):
    """ChatTS-8B's class."""

    config_class = Qwen3TSConfig

    def __init__(self, config: Qwen3TSConfig) -> None:
        super(Qwen3ForCausalLM, self).__init__(config)
        self.model = Qwen3Model(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self._add_encoder(config)
        self.post_init()


def register() -> None:
    """Register ``chatts`` and ``qwen3ts`` with the Auto classes; a second call changes nothing."""
    AutoConfig.register("chatts", ChatTSConfig, exist_ok=True)
    AutoConfig.register("qwen3ts", Qwen3TSConfig, exist_ok=True)
    AutoModelForCausalLM.register(ChatTSConfig, Qwen2TSForCausalLM, exist_ok=True)
    AutoModelForCausalLM.register(Qwen3TSConfig, Qwen3TSForCausalLM, exist_ok=True)
