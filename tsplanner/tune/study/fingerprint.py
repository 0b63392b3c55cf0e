"""The fingerprint of a search: model, data and method, which all its trials share."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tsplanner.datasets.files.folders import dataset_files
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings, pace_given


def fingerprint(plan: Plan) -> dict[str, str]:
    """What all trials of a search share; results of unequal fingerprints cannot be compared."""
    learning = plan.learning
    # Rate, LoRA rank and epochs are left out because trials differ in them, and hardware
    # settings because no loss depends on them.
    fixed = (
        learning.optimization.effective_batch_size,
        learning.data.cutoff_len,
        learning.data.validation_fraction,
        learning.data.loss_on,
    )
    # Searches before there were flags for these had all of them at their defaults.
    pace = {"lr_scheduler_type": learning.optimization.lr_scheduler_type} | pace_given(learning)
    unusual = pace != {"lr_scheduler_type": LearningSettings().optimization.lr_scheduler_type}
    found = {
        "model": f"{plan.model.name} {digest(json.dumps(plan.model.config, sort_keys=True))}",
        "dataset": f"{plan.dataset.name} {dataset_digest(plan)}",
        "method": str(learning.method.finetuning_type),
        "seed": str(learning.seed),
        "split seed": str(learning.data.split_seed),
        "batch, cutoff, held-out share and loss": " ".join(str(value) for value in fixed),
    }
    return found | ({"schedule and pace": str(pace)} if unusual else {})


def dataset_digest(plan: Plan) -> str:
    """Digest of the dataset's content; a file that was edited is another dataset."""
    source = plan.dataset.source
    try:
        files = dataset_files([Path(path) for path in source.paths]).paths if source else ()
    except TsplannerError:
        files = ()
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if not digests:
        return "no file"
    named = [f"{ours}={theirs}" for ours, theirs in plan.dataset.columns]
    # One file without names of columns keeps the digest that earlier searches noted.
    whole = digests[0] if len(digests) == 1 and not named else digest(" ".join(digests + named))
    return whole[:12]


def digest(text: str) -> str:
    """The first twelve hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
