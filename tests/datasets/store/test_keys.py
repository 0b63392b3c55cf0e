"""The key of a store follows all that its tokens depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tsplanner.datasets.records import DataSource, LossOn, ReadJob
from tsplanner.datasets.store.keys import store_folder, store_key


@pytest.fixture
def read(tmp_path: Path) -> ReadJob:
    """A dataset and a tokenizer's folder with a template."""
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    source = DataSource(paths=(str(tmp_path / "rows.jsonl"),))
    return ReadJob(source=source, cutoff_len=64, encoder=None, tokenizer_folder=str(tmp_path))


def test_settings_change_the_first_part_of_a_key(read: ReadJob) -> None:
    """Cutoff, loss, columns, bad rows: a store of other settings is another store."""
    first = store_key(read, b"{}", "drop")
    assert store_key(read, b"{}", "drop") == first
    columns = replace(read.source, columns=(("prompt", "q"),))
    others = (
        store_key(replace(read, cutoff_len=65), b"{}", "drop"),
        store_key(replace(read, loss_on=LossOn.ALL), b"{}", "drop"),
        store_key(replace(read, source=columns), b"{}", "drop"),
        store_key(read, b"{}", "refuse"),
    )
    assert len({key.split("-")[0] for key in (first, *others)}) == 5


def test_files_change_the_second_part_alone(read: ReadJob) -> None:
    """Rows, template or tokenizer as they are now: the older store is of no use any more."""
    first = store_key(read, b"{}", "drop").split("-")
    assert read.tokenizer_folder is not None
    (Path(read.tokenizer_folder) / "chat_template.jinja").write_text("{{ messages[0] }}")
    second = store_key(read, b"{}", "drop").split("-")
    Path(read.source.paths[0]).write_text("{}\n{}\n")
    third = store_key(read, b"{}", "drop").split("-")
    fourth = store_key(read, b"{ }", "drop").split("-")
    assert len({first[0], second[0], third[0], fourth[0]}) == 1
    assert len({first[1], second[1], third[1], fourth[1]}) == 4


def test_stores_lie_in_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So `tsplanner state` shows and clears them."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path))
    assert store_folder() == tmp_path / "tokens"
