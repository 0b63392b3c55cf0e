"""ChatTS for transformers 5: a Qwen decoder that reads patches of series between its tokens.

The parameters have the names of the published checkpoints, so their weights load without a map.
The code is our own and follows ChatTS only in names and shapes; no remote code runs.

Notation: B rows, T text tokens of the longest row, K series of all rows, N points of the longest
series, P patches of all series together, S positions after merging, D hidden size.
"""

from __future__ import annotations

from typing import Any

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

from tsplanner.training.chatts.encoder import TimeSeriesEmbedding
from tsplanner.training.chatts.merging import (
    IGNORED_LABEL,
    Merged,
    check_pairs,
    merged_positions,
    needed_mask,
    patch_places,
)


class ChatTSConfig(Qwen2Config):
    """A Qwen2 config with ``ts``, ``ts_token_start_index`` and ``ts_token_end_index``."""

    model_type = "chatts"


class Qwen3TSConfig(Qwen3Config):
    """A Qwen3 config with ``ts``, ``ts_token_start_index`` and ``ts_token_end_index``."""

    model_type = "qwen3ts"


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
        position_ids: torch.Tensor | None = None,
    ) -> Merged:
        """Replace each ``<ts><ts/>`` pair by the patches of its series.

        ``input_ids``: [B, T], padded on the right; ``timeseries``: [K, 2N, 1], rows in order;
        ``position_ids``: [1, T] of rows laid end to end, B = 1.
        Generation starts from the result: ``generate(inputs_embeds=..., attention_mask=...)``.

        Raises ValueError if the number of pairs is not the number of series.
        """
        text = self.get_input_embeddings()(input_ids)  # type: ignore[attr-defined]
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if timeseries is None or timeseries.shape[0] == 0:
            return Merged(text, attention_mask, labels, position_ids)
        patches, counts = self.ts_encoder(timeseries, text.dtype)
        config = self.config  # type: ignore[attr-defined]
        opens = input_ids == config.ts_token_start_index
        closes = input_ids == config.ts_token_end_index
        check_pairs(opens, closes, len(counts))
        widths = torch.ones_like(input_ids)
        widths[closes] = 0
        widths[opens] = counts
        ends = widths.cumsum(dim=1)
        starts, length = ends - widths, int(ends[:, -1].max())
        row, token = torch.nonzero(~(opens | closes), as_tuple=True)
        place = starts[row, token]
        patch_row, patch_place = patch_places(opens, starts, counts)
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
        if position_ids is not None:
            position_ids = merged_positions(position_ids, starts, length)
        return Merged(embeds, mask, labels, position_ids)

    def merged_hidden_states(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        timeseries: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The decoder's output [B, S, D] and labels [B, S], for a loss that applies the head."""
        merged = self.merged_inputs(input_ids, attention_mask, timeseries, labels, position_ids)
        outputs = self.model(  # type: ignore[attr-defined]
            inputs_embeds=merged.inputs_embeds,
            attention_mask=needed_mask(merged.attention_mask),
            position_ids=merged.position_ids,
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
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits over text and patches [B, S, V], and with ``labels`` the loss."""
        if timeseries is not None and input_ids is not None:
            inputs_embeds, attention_mask, labels, position_ids = self.merged_inputs(
                input_ids, attention_mask, timeseries, labels, position_ids
            )
            input_ids = None
        if labels is not None:
            kwargs.setdefault("use_cache", False)
            # Only training drops the mask; a generation goes on from the mask that it is given.
            attention_mask = needed_mask(attention_mask)
        return super().forward(  # type: ignore[misc]
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            position_ids=position_ids,
            labels=labels,
            **kwargs,
        )


class Qwen2TSForCausalLM(_ReadsSeries, Qwen2ForCausalLM):
    """ChatTS-14B's class."""

    config_class = ChatTSConfig

    def __init__(self, config: ChatTSConfig) -> None:
        # The parent's own constructor would call `post_init` before the encoder exists.
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
