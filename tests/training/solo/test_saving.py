"""What a run leaves on disk."""

from __future__ import annotations

from pathlib import Path

from memory_models.settings import FinetuningType
from tests.support import tiny
from tsplanner.training.solo.saving import latest_checkpoint, save_weights, weights_folder


def test_checkpoint_that_was_cut_off_is_not_resumed_from(tmp_path: Path) -> None:
    """Only a checkpoint whose last file was written counts."""
    for step, whole in ((9, True), (100, True), (110, False)):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if whole:
            (folder / "trainer_state.json").write_text("{}")
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-100"


class Saver:
    """Saves as Trainer does: weights, and its arguments as a pickle."""

    def __init__(self, text: str) -> None:
        self.text = text

    def save_model(self, folder: str) -> None:
        """Write both files."""
        Path(folder).mkdir()
        (Path(folder) / "adapter_model.safetensors").write_text(self.text)
        (Path(folder) / "training_args.bin").write_text("pickle")


def test_weights_replace_older_ones_in_one_rename(tmp_path: Path) -> None:
    """Nothing half-written stays beside them, and no pickle."""
    plan, run = tiny.plan(tmp_path / "plan"), tmp_path / "run"
    (run / ".adapter.new").mkdir(parents=True)
    for text in ("first", "second"):
        found = save_weights(Saver(text), plan, run)
    assert found == run / "adapter"
    assert [path.name for path in run.iterdir()] == ["adapter"]
    assert [path.name for path in found.iterdir()] == ["adapter_model.safetensors"]
    assert (found / "adapter_model.safetensors").read_text() == "second"
    save_weights(Saver("last"), plan, run, "adapter-last")
    assert sorted(path.name for path in run.iterdir()) == ["adapter", "adapter-last"]


def test_the_folder_says_whether_it_holds_an_adapter_or_a_model(tmp_path: Path) -> None:
    """A full run saves the model itself."""
    plan = tiny.plan(tmp_path)
    assert weights_folder(plan) == "adapter"
    full = tiny.with_learning(plan, finetuning_type=FinetuningType.FULL)
    assert weights_folder(full) == "model"


def test_without_a_checkpoint_there_is_nothing_to_resume_from(tmp_path: Path) -> None:
    """The folder may not even be there."""
    assert latest_checkpoint(tmp_path) is None
