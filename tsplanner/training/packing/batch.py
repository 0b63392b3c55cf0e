"""The rows of one optimizer step as passes of rows laid end to end.

Notation: T tokens of all rows of a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tsplanner.datasets.lengths.tally import padded_tokens
from tsplanner.planner.packing import bins
from tsplanner.training.batches import IGNORED_LABEL, EncodedSample, series_tensor

PASSES = "passes"
"""Key under which a step's batch holds its passes."""


def laid_end_to_end(
    rows: Sequence[EncodedSample], pad_id: int, filling: int | None = None
) -> dict[str, torch.Tensor]:
    """One pass: ``input_ids``, ``labels`` and ``position_ids`` [1, T], and ``timeseries``.

    Positions begin anew with every row, by which the model tells rows apart. No label stands at a
    row's first token, which the token before it would otherwise have to foretell. ``filling``
    tokens of padding follow as a last row; None: up to a multiple of 8 tokens, for the matrix
    products.
    """
    ids = [token for row in rows for token in row.input_ids]
    labels = [label for row in rows for label in (IGNORED_LABEL, *row.labels[1:]) if row.input_ids]
    positions = [place for row in rows for place in range(len(row.input_ids))]
    if filling is None:
        filling = padded_tokens(len(ids)) - len(ids)
    found = {
        "input_ids": torch.tensor([ids + [pad_id] * filling]),
        "labels": torch.tensor([labels + [IGNORED_LABEL] * filling]),
        "position_ids": torch.tensor([[*positions, *range(filling)]]),
    }
    if series := [values for row in rows for values in row.series]:
        found["timeseries"] = series_tensor(series)
    return found


def step_of_passes(
    rows: Sequence[EncodedSample], lengths: Sequence[int], budget: int, pad_id: int
) -> dict[str, Any]:
    """The rows of a step as passes of at most ``budget`` positions.

    ``lengths``: decoder positions per row. ``labels`` of all passes [1, sum of T] stand beside, by
    which Trainer counts the tokens that the step's loss is a mean over.
    """
    passes = [
        laid_end_to_end([rows[place] for place in places], pad_id)
        for places in bins(lengths, budget)
    ]
    return {PASSES: passes, "labels": torch.cat([each["labels"] for each in passes], dim=1)}
