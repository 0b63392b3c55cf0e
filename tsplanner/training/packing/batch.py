"""The rows of one optimizer step as passes of rows laid end to end.

Notation: T tokens of all rows of a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tsplanner.datasets.lengths.tally import padded_tokens
from tsplanner.planner.packing import bins
from tsplanner.training.batches import IGNORED_LABEL, EncodedSample, series_tensor
from tsplanner.training.solo.embedding_noise import ROWS, end_to_end

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
    ids = [np.asarray(row.input_ids) for row in rows]
    labels = [np.asarray(row.labels).copy() for row in rows]
    for own in labels:
        own[:1] = IGNORED_LABEL
    total = sum(map(len, ids))
    if filling is None:
        filling = padded_tokens(total) - total
    padding = np.full(filling, pad_id)
    found = {
        "input_ids": _sequence([*ids, padding]),
        "labels": _sequence([*labels, np.full(filling, IGNORED_LABEL)]),
        "position_ids": _sequence([np.arange(len(own)) for own in (*ids, padding)]),
    }
    if series := [values for row in rows for values in row.series]:
        found["timeseries"] = series_tensor(series)
    return found


def _sequence(parts: Sequence[Any]) -> torch.Tensor:
    """Parts after one another [1, T]."""
    return torch.from_numpy(np.concatenate(parts).astype(np.int64)).unsqueeze(0)


def step_of_passes(
    rows: Sequence[EncodedSample],
    lengths: Sequence[int],
    budget: int,
    pad_id: int,
    *,
    places: bool = False,
) -> dict[str, Any]:
    """The rows of a step as passes of at most ``budget`` positions.

    ``lengths``: decoder positions per row. ``labels`` of all passes [1, sum of T] stand beside, by
    which Trainer counts the tokens that the step's loss is a mean over. ``places``: each pass also
    says where its rows are, for their noise.
    """
    cut = [[rows[place] for place in own] for own in bins(lengths, budget)]
    passes: list[dict[str, Any]] = [
        laid_end_to_end(own, pad_id) | ({ROWS: end_to_end(own)} if places else {}) for own in cut
    ]
    return {PASSES: passes, "labels": torch.cat([each["labels"] for each in passes], dim=1)}
