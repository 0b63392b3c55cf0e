"""The rows of trials that share a base: encoded once, split by the seed of each trial."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tsplanner.planner.plan import ModelRef
from tsplanner.training import data, model
from tsplanner.training.batches import EncodedSample
from tsplanner.training.job import Job, JobKind
from tsplanner.training.stored_rows import StoredRows


class MultiLoraRows:
    """Rows of token stores, kept by the cutoff length that they depend on."""

    def __init__(self, ref: ModelRef, tokenizer: Any | None) -> None:
        self.config, self.tokenizer = model.model_config(ref), tokenizer
        self._stored: dict[int, StoredRows] = {}

    def rows(self, job: Job) -> data.SplitRows:
        """Rows to train on and rows held out, as the trial alone would have them."""
        plan = job.plan
        if job.kind is JobKind.PROBE:
            batch = data.probe_batches(plan, self.config, 1)[0]
            return data.SplitRows(train=samples_of(batch) * job.probe_micro_batches, validation=[])
        cutoff = plan.learning.data.cutoff_len
        if cutoff not in self._stored:
            self._stored[cutoff] = data.stored_rows(plan, self.tokenizer, self.config)
        return data.split_rows(self._stored[cutoff], plan)


def samples_of(batch: dict[str, Tensor]) -> list[EncodedSample]:
    """The rows of a probe's batch, which has one series per row, or none."""
    ids, labels = batch["input_ids"].tolist(), batch["labels"].tolist()
    series: list[tuple[tuple[float, ...], ...]] = [()] * len(ids)
    if "timeseries" in batch:
        values = batch["timeseries"].reshape(len(ids), -1, 2)[..., 0].tolist()
        series = [(tuple(row),) for row in values]
    return [
        EncodedSample(input_ids=row, labels=targets, series=own)
        for row, targets, own in zip(ids, labels, series, strict=True)
    ]
