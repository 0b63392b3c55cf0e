"""A plan of four ChatTS rows whose encoder has a learning rate of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from memory_models.settings import Optimizer, changed
from tests.support import tiny
from tsplanner.models.source import read_model
from tsplanner.planner.plan import ModelRef, Plan
from tsplanner.settings import configs_folder

RATE, ENCODER_RATE = 0.01, 0.5


def plan(folder: Path, **learning: Any) -> Plan:
    """Two epochs of two steps on four rows of the sample, by plain SGD at a constant rate."""
    sample = (configs_folder() / "datasets" / "sample" / "sample.jsonl").read_text().splitlines()
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "four.jsonl"
    rows.write_text("".join(f"{line}\n" for line in sorted(sample, key=len)[:4]))
    base, source = tiny.plan(folder), read_model("tiny-chatts")
    return replace(
        base,
        model=ModelRef(
            name="tiny-chatts",
            path=str(source.folder),
            model_type="chatts",
            parameters_total=1,
            parameters_trainable=1,
            config=source.config,
            has_weights=True,
            architecture=source.architecture,
        ),
        dataset=changed(base.dataset, path=str(rows), rows_total=4, rows_kept=4),
        learning=changed(
            base.learning,
            **{
                "learning_rate": RATE,
                "timeseries_lr": ENCODER_RATE,
                "lr_scheduler_type": "constant",
                "warmup_ratio": 0.0,
                "max_grad_norm": 0.0,
                "effective_batch_size": 2,
                "cutoff_len": 1000,
                "validation_fraction": 0.0,
                **learning,
            },
        ),
        hardware=changed(
            base.hardware,
            optimizer=Optimizer.SGD,
            micro_batch_size=1,
            gradient_accumulation_steps=2,
        ),
    )
