"""When a full run is over."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from memory_models.settings import FinetuningType
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.probe.finished import finished_run, has_checkpoint, is_over, weights_name
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record


def note(folder: Path, status: Status, kind: JobKind = JobKind.TRAIN) -> None:
    """Leave a record."""
    record = Record(status=status, kind=kind)
    (folder / "record.json").write_bytes(msgspec.json.encode(record))


def test_only_a_training_that_came_to_its_end_is_over(tmp_path: Path) -> None:
    """A trial's record, a record of any other status and half a record are of no full run."""
    assert not is_over(tmp_path)
    for status in Status:
        note(tmp_path, status)
        assert is_over(tmp_path) is (status is Status.OK)
    note(tmp_path, Status.OK, JobKind.TRIAL)
    assert not is_over(tmp_path)
    (tmp_path / "record.json").write_text("{")
    assert not is_over(tmp_path)


def test_what_is_over_has_its_weights(tmp_path: Path) -> None:
    """An empty folder is none; a full run saves a model and not an adapter."""
    plan = tiny.plan(tmp_path)
    with pytest.raises(TsplannerError, match="holds no run that is over"):
        finished_run(tmp_path, plan)
    note(tmp_path, Status.OK)
    (tmp_path / "adapter").mkdir()
    with pytest.raises(TsplannerError, match="its adapter is gone"):
        finished_run(tmp_path, plan)
    (tmp_path / "adapter" / "weights").write_text("")
    assert finished_run(tmp_path, plan).weights == tmp_path / "adapter"
    full = tiny.with_learning(plan, finetuning_type=FinetuningType.FULL)
    assert weights_name(full) == "model"


def test_a_checkpoint_is_there_once_its_last_file_is(tmp_path: Path) -> None:
    """Trainer writes trainer_state.json at the end."""
    folder = tmp_path / "checkpoints" / "checkpoint-12"
    folder.mkdir(parents=True)
    assert not has_checkpoint(tmp_path)
    (folder / "trainer_state.json").write_text("{}")
    assert has_checkpoint(tmp_path)
