"""Which studies are opened, and which are refused and left as they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.searching import Worker, by_rank, search
from tests.support.study_worker import opened
from tsplanner.errors import TsplannerError
from tsplanner.tune.study.study import Study


def test_ranges_of_a_search_stay_whatever_memory_is_free(folder: Path) -> None:
    """A resumed or second worker searches where the first one does."""
    first = opened(folder).encoding
    assert Study(folder, tiny.plan(folder.parent), None).encoding == first


def test_full_disk_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal cannot grow: what to do is said, and no traceback."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TsplannerError, match="is full: free some space"):
        opened(folder)


def test_study_of_an_earlier_version_is_refused_and_left_as_it_is(folder: Path) -> None:
    """Its held-out rows were drawn otherwise, so its trials cannot be compared."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(path)))
    earlier = optuna.create_study(study_name="tsplanner", storage=storage)
    earlier.set_user_attr("subject", {"model": "tiny", "seed": "42"})
    earlier.enqueue_trial({"learning_rate": 1e-3, "num_train_epochs": 3, "lora_rank": 8})
    before = path.read_bytes()
    with pytest.raises(TsplannerError, match="another version of tsplanner"):
        opened(folder)
    assert path.read_bytes() == before


def test_other_held_out_rows_are_another_search(folder: Path) -> None:
    """Trials judged on other rows cannot be compared; the sentence says which seed changed."""
    opened(folder)
    plan = tiny.with_learning(tiny.plan(folder.parent), split_seed=7)
    with pytest.raises(TsplannerError, match=r"another split seed \(42, now 7\)"):
        Study(folder, plan, None)


def test_encoding_of_the_version_before_is_read(folder: Path) -> None:
    """It called the baseline by another name."""
    study = opened(folder)
    stored = dict(study.access.study.user_attrs["places"])
    stored["default"] = stored.pop("baseline")
    study.access.study.set_user_attr("places", stored)
    assert Study(folder, tiny.plan(folder.parent), None).encoding == study.encoding


def test_search_of_another_dataset_is_refused(tmp_path: Path) -> None:
    """Results on other rows cannot be compared; the message says what changed."""
    plan = tiny.plan(tmp_path)
    search(tmp_path / "run", plan, Worker(by_rank))
    assert plan.dataset.path is not None
    Path(plan.dataset.path).write_text('{"instruction": "a", "output": "b"}\n')
    with pytest.raises(TsplannerError, match="another dataset"):
        search(tmp_path / "run", plan, Worker(by_rank))


def test_damaged_journal_is_one_sentence_and_stays(tmp_path: Path) -> None:
    """A file that is no journal is named and left as it is."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "study.journal").write_text("no journal\nat all\n")
    with pytest.raises(TsplannerError, match="cannot be opened as a search"):
        search(folder, tiny.plan(tmp_path), Worker(by_rank))
    assert (folder / "study.journal").read_text().startswith("no journal\n")
