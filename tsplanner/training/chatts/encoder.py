"""The encoder of ChatTS, which makes one decoder position per patch of a series.

Notation: K series of all rows, N points of the longest series, P patches of all series together,
D hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


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
            # The share is of the longest series of the batch, so multi-LoRA encodes trial by trial.
            share = position / (lengths.max() - 1).clamp(min=1)
            share = share.masked_fill(beyond, -1.0).to(values.dtype)
            return torch.stack([values, share], dim=-1).flatten(1)
        return values
