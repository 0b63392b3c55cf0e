"""A checkpoint that a stranger sends along with a run folder runs nothing."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

from tests.support import hostile, tiny
from tests.training.solo.test_encoder_rate import built
from tsplanner.training.job import JobKind

NAMES = (
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "training_args.bin",
    "adapter_model.bin",
    "pytorch_model.bin",
)
"""Pickles that transformers and PEFT know."""


def test_pickles_of_a_checkpoint_are_read_as_plain_values(tmp_path: Path) -> None:
    """Each in turn: going on ends in an error, or without the file; nothing in it has run."""
    marker = tmp_path / "marker"
    plan = tiny.plan(tmp_path, rows=8)
    whole = built(plan, tmp_path / "run", JobKind.TRAIN)
    whole.train()
    checkpoints = tmp_path / "run" / "checkpoints"
    first = min(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    refused = []
    for name in NAMES:
        strange = tmp_path / "strange" / f"checkpoint-{name}"
        shutil.copytree(first, strange)
        hostile.write_pickle(strange / name, marker)
        if name.endswith("_model.bin"):  # read where there is no safetensors file
            for weights in strange.glob("*.safetensors"):
                weights.unlink()
        resumed = built(plan, tmp_path / "run", JobKind.TRAIN)
        try:
            resumed.train(resume_from_checkpoint=str(strange))
        except Exception:  # of whichever library reads it
            refused.append(name)
        assert not marker.exists(), name
    assert set(refused) >= {"optimizer.pt", "adapter_model.bin"}


def test_such_a_pickle_would_run(tmp_path: Path) -> None:
    """Otherwise the test above would show nothing."""
    hostile.write_pickle(tmp_path / "x.bin", tmp_path / "marker")
    pickle.loads((tmp_path / "x.bin").read_bytes())
    assert (tmp_path / "marker").exists()
