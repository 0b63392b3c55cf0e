"""What a run leaves on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory_models.settings import FinetuningType
from tests.support import tiny
from tsplanner.training.solo.saving import (
    is_whole,
    latest_checkpoint,
    read_adapter,
    recover_weights,
    save_weights,
    weights_folder,
)


def test_checkpoint_that_was_cut_off_is_not_resumed_from(tmp_path: Path) -> None:
    """Only a checkpoint whose last file was written counts."""
    for step, whole in ((9, True), (100, True), (110, False)):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for name in ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt"):
            (folder / name).write_text("")
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
        (Path(folder) / "README.md").write_text("# Model Card for Model ID")


def test_an_adapter_is_read_back_into_its_model(tmp_path: Path) -> None:
    """Whatever became of it since; the base has no part in it."""
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    base = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    config = peft.LoraConfig(target_modules=["0"], modules_to_save=["1"], init_lora_weights=False)
    model = peft.get_peft_model(base, config)
    values = torch.ones(1, 4)
    before = model(values)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    assert not torch.equal(model(values), before)
    read_adapter(model, tmp_path)
    assert torch.equal(model(values), before)


def test_weights_replace_older_ones_in_one_rename(tmp_path: Path) -> None:
    """Nothing half-written stays beside them, no pickle and no empty card; the tokenizer does."""
    plan, run = tiny.plan(tmp_path / "plan"), tmp_path / "run"
    (run / ".adapter.new").mkdir(parents=True)
    for text in ("first", "second"):
        found = save_weights(Saver(text), plan, run)
    assert found == run / "adapter"
    assert [path.name for path in run.iterdir()] == ["adapter"]
    assert sorted(path.name for path in found.iterdir()) == [
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
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


@pytest.mark.parametrize(
    "name",
    ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"],
)
def test_a_checkpoint_that_lost_a_file_is_not_whole(tmp_path: Path, name: str) -> None:
    """Trainer would go on without the optimizer's states, along another curve."""
    for each in ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"):
        (tmp_path / each).write_text("")
    assert is_whole(tmp_path)
    (tmp_path / name).unlink()
    assert not is_whole(tmp_path)


def test_a_checkpoint_of_deepspeed_keeps_its_states_elsewhere(tmp_path: Path) -> None:
    """They are in a folder of the step."""
    (tmp_path / "global_step5").mkdir()
    assert not is_whole(tmp_path)
    (tmp_path / "trainer_state.json").write_text("{}")
    assert is_whole(tmp_path)


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ((".adapter.new", ".adapter.old"), ".adapter.new"),
        ((".adapter.old",), ".adapter.old"),
        (("adapter", ".adapter.new"), "adapter"),
        ((".adapter.new",), None),
    ],
)
def test_weights_survive_a_kill_between_the_two_renames_of_a_save(
    tmp_path: Path, left: tuple[str, ...], kept: str | None
) -> None:
    """New weights are whole once the old ones were moved away, and not before."""
    for name in left:
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
    recover_weights(tmp_path, "adapter")
    if kept is None:
        assert not (tmp_path / "adapter").exists()
    else:
        assert (tmp_path / "adapter" / "weights").read_text() == kept
