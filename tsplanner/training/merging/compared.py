"""Logits of a few rows: those of base and adapter against those of what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.training import data
from tsplanner.training.base_model.tokenizer import load_tokenizer
from tsplanner.training.batches import (
    EncodedSample,
    collate,
    longest_batch,
    samples_of,
    without_mask,
)
from tsplanner.training.merging.records import LONGEST_CHECKED, ROWS_CHECKED, Compared

Logits = list[Tensor]
"""A tensor [S, V] for each row."""


def rows_to_check(plan: Plan, config: Any) -> tuple[list[EncodedSample], bool]:
    """A few rows, and whether they are the plan's own; random ones where its dataset is gone."""
    try:
        own = list(islice(_own_rows(plan, config), ROWS_CHECKED))
    except (TsplannerError, OSError):
        own = []
    if own:
        return own, True
    length = min(64, LONGEST_CHECKED)
    batch = longest_batch(
        config,
        micro_batch_size=ROWS_CHECKED,
        sequence_length=length,
        series_patches=plan.dataset.series_patches(length) if plan.architecture.encoder else 0,
        seed=plan.learning.seed,
    )
    return samples_of(batch), False


def _own_rows(plan: Plan, config: Any) -> Iterator[EncodedSample]:
    """The first rows of the dataset; the file is read no further than they are asked for."""
    source = plan.dataset.source
    if source is None or not all(Path(path).exists() for path in source.paths):
        return
    tokenizer = load_tokenizer(plan.model)
    if tokenizer is None:
        return
    for row in map(data.encoded, data.kept_rows(plan, tokenizer, config)):
        # The marks of a series may not be cut.
        most = len(row.input_ids) if row.series else LONGEST_CHECKED
        yield replace(row, input_ids=row.input_ids[:most], labels=row.labels[:most])


@torch.no_grad()
def logits_of(asked: Any, rows: Sequence[EncodedSample], pad_id: int = 0) -> Logits:
    """The logits of each row alone, in fp32 on the host."""
    reads_series = getattr(asked.config, "ts", None) is not None
    device, found = next(asked.parameters()).device, []
    for row in rows:
        batch = collate([row], pad_id)
        batch = batch if reads_series else without_mask(batch)
        given = {name: each.to(device) for name, each in batch.items() if name != "labels"}
        positions = asked(**given).logits[0]
        # Positions of padding say nothing; patches of a series come on top of the tokens.
        padding = batch["input_ids"].shape[1] - len(row.input_ids)
        found.append(positions[: len(positions) - padding].float().cpu())
    return found


def compared(before: Logits, after: Logits, without: Logits, *, from_dataset: bool) -> Compared:
    """``before``: of base and adapter; ``after``: of what was written; ``without``: of the base."""
    # Logits that are all alike are of no size, and nothing is a share of that.
    size = _square([_centred(each) for each in before]) or 1.0
    most = [each.argmax(dim=-1) for each in before]
    same = sum(
        int((one == each.argmax(dim=-1)).sum()) for one, each in zip(most, after, strict=True)
    )
    positions = sum(len(each) for each in before)
    return Compared(
        difference=_apart(before, after) / size,
        effect=_apart(before, without) / size,
        same_token=same / positions,
        positions=positions,
        rows=len(before),
        from_dataset=from_dataset,
    )


def _centred(logits: Tensor) -> Tensor:
    """What softmax sees of logits."""
    return logits - logits.mean(dim=-1, keepdim=True)


def _apart(one: Logits, other: Logits) -> float:
    pairs = zip(one, other, strict=True)
    return _square([_centred(mine) - _centred(theirs) for mine, theirs in pairs])


def _square(parts: Logits) -> float:
    """Root of the sum of squares."""
    total: float = sum(float(each.double().square().sum()) for each in parts)
    return total**0.5
