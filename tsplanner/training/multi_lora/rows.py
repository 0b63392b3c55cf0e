"""The rows of trials that share a base: encoded once, split by the seed of each trial."""

from __future__ import annotations

from typing import Any

from tsplanner.planner.plan import ModelRef
from tsplanner.training import data
from tsplanner.training.base_model.configuration import model_config
from tsplanner.training.job import Job, JobKind
from tsplanner.training.stored_rows import StoredRows


class MultiLoraRows:
    """Rows of token stores, kept by the cutoff length that they depend on."""

    def __init__(self, ref: ModelRef, tokenizer: Any | None) -> None:
        self.config, self.tokenizer = model_config(ref), tokenizer
        self._stored: dict[int, StoredRows] = {}

    def rows(self, job: Job) -> data.SplitRows:
        """Rows to train on and rows held out, as the trial alone would have them."""
        plan = job.plan
        if job.kind is JobKind.PROBE:
            rows = data.probe_rows(plan, self.config)
            return data.SplitRows(train=rows * job.probe_micro_batches, validation=[])
        cutoff = plan.learning.data.cutoff_len
        if cutoff not in self._stored:
            self._stored[cutoff] = data.stored_rows(plan, self.tokenizer, self.config)
        return data.split_rows(self._stored[cutoff], plan)
