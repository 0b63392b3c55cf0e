"""What the processes of a run keep alike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from tests.support import tiny
from tsplanner.training.adapters import apply_method
from tsplanner.training.base_model.build import build_model
from tsplanner.training.solo.alike import AlikeTrainer, left_out


def test_ddp_joins_the_adapters_and_leaves_the_base_and_all_buffers_out(tmp_path: Path) -> None:
    """A frozen base is the same on every process, and so are the tables of the rotation."""
    plan = tiny.plan(tmp_path)
    trained = apply_method(plan, build_model(plan, "cpu"), 4)
    names = {name for name, _ in [*trained.named_parameters(), *trained.named_buffers()]}
    kept = names - set(left_out(trained))
    assert kept == {name for name in names if "lora_" in name}
    assert kept


class Preparing:
    """What accelerate is asked to prepare, and whether for an evaluation alone."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []

    def prepare_model(
        self, model: str, device_placement: bool | None = None, evaluation_mode: bool = False
    ) -> str:
        """Note it."""
        self.asked.append((model, evaluation_mode))
        return f"prepared {model}"


def test_accelerate_adds_autocast_alone_to_slices_and_prepares_what_follows_as_ever() -> None:
    """A second model of the same accelerator gets DDP again, and so does the next job."""
    accelerator = Preparing()
    trainer: Any = SimpleNamespace(accelerator=accelerator)
    for model in ("slices", "slices again"):
        assert AlikeTrainer._without_ddp(trainer, model) == model  # type: ignore[arg-type]
        assert accelerator.prepare_model(model, device_placement=None) == f"prepared {model}"
        assert accelerator.prepare_model("another") == "prepared another"
    assert accelerator.asked == [
        ("slices", True),
        ("another", False),
        ("slices again", True),
        ("another", False),
    ]
    assert vars(accelerator) == {"asked": accelerator.asked}
