"""What a plan read, looked at again."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from tests.support import tiny
from tsplanner.models.weights import WeightFiles, find_weights
from tsplanner.planner.gather.inputs import (
    changes,
    dataset_change,
    model_files,
    rows_now,
    seen_dataset,
    seen_file,
    seen_weights,
)
from tsplanner.planner.plan import Plan


def planned(folder: Path, rows: int = 48) -> Plan:
    """The tiny plan, with what it read."""
    plan = tiny.plan(folder, rows=rows)
    assert plan.dataset.path is not None
    model = folder / "model"
    return replace(
        plan,
        model=replace(plan.model, files=model_files(model, find_weights(model))),
        dataset=replace(plan.dataset, seen=seen_file(Path(plan.dataset.path))),
    )


def test_what_stayed_as_it_was_is_no_change(tmp_path: Path) -> None:
    """Nor is a file that was copied or touched: its content decides."""
    plan = planned(tmp_path)
    assert list(changes(plan)) == []
    for path in (tmp_path / "rows.jsonl", tmp_path / "model" / "config.json"):
        os.utime(path, ns=(1, 1))
    assert list(changes(plan)) == []


def test_a_shorter_dataset_is_told_in_rows(tmp_path: Path) -> None:
    """48 rows were planned with, and 20 are there."""
    plan = planned(tmp_path)
    tiny.write_dataset(tmp_path / "rows.jsonl", 20)
    assert list(changes(plan)) == ["rows.jsonl had 48 rows, now 20"]
    assert rows_now([tmp_path / "rows.jsonl"]) == 20


def test_other_rows_of_the_same_number_are_told_in_bytes_or_content(tmp_path: Path) -> None:
    """One word more; then one letter for another, at another time."""
    plan, path = planned(tmp_path), tmp_path / "rows.jsonl"
    text = path.read_text()
    size = len(text)
    path.write_text(text.replace("noise", "noises", 1))
    assert dataset_change(plan.dataset) == f"rows.jsonl had {size:,} bytes, now {size + 1:,}"
    path.write_text(text.replace("noise", "voice", 1))
    os.utime(path, ns=(1, 1))
    assert dataset_change(plan.dataset) == "rows.jsonl changed in content"


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    """The dataset, then the weights."""
    plan = planned(tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    (tmp_path / "model" / "model.safetensors").unlink()
    assert list(changes(plan)) == [
        f"the weights are gone from {tmp_path / 'model'}",
        f"{tmp_path / 'rows.jsonl'} is gone",
    ]


def test_weights_are_known_by_size_and_header(tmp_path: Path) -> None:
    """Other tensors have another header; longer ones another size."""
    plan, file = planned(tmp_path), tmp_path / "model" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"q_proj", b"x_proj", 1))
    assert list(changes(plan)) == ["the model's weights changed in content"]
    file.write_bytes(whole + b"x")
    assert list(changes(plan)) == [
        f"the model's weights had {len(whole):,} bytes, now {len(whole) + 1:,}"
    ]
    assert seen_weights(WeightFiles()) is None


def test_weights_that_came_after_the_plan_are_a_change(tmp_path: Path) -> None:
    """The plan would draw random ones beside them."""
    model = tmp_path / "model"
    plan = planned(tmp_path)
    bare = [seen for seen in plan.model.files if not seen.path.endswith("safetensors")]
    plan = replace(plan, model=replace(plan.model, has_weights=False, files=tuple(bare)))
    assert list(changes(plan)) == [
        f"{model} had no weights when the plan was made and has some now"
    ]


def test_a_plan_that_noted_nothing_is_taken_as_it_is(tmp_path: Path) -> None:
    """Plans of older versions have no notes."""
    plan = tiny.plan(tmp_path)
    tiny.write_dataset(tmp_path / "rows.jsonl", 3)
    assert list(changes(plan)) == []


def test_large_files_are_sampled_and_small_ones_read_whole(tmp_path: Path) -> None:
    """A change at either end of 40 MB is seen, and a look takes a few milliseconds at most."""
    path = tmp_path / "large"
    path.write_bytes(bytes(40_000_000))
    begun = time.perf_counter()
    before = seen_file(path)
    assert time.perf_counter() - begun < 0.05
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert seen_file(path).digest != before.digest


def test_several_files_and_a_folder_are_seen_as_one(tmp_path: Path) -> None:
    """A change of any of them is a change, and so is a file that came or went."""
    plan = planned(tmp_path)
    folder = tmp_path / "more"
    folder.mkdir()
    tiny.write_dataset(folder / "a.jsonl", 5)
    paths = [tmp_path / "rows.jsonl", folder]
    dataset = replace(plan.dataset, further=(str(folder),), seen=seen_dataset(paths))
    assert dataset.source is not None
    assert dataset.source.paths == (str(paths[0]), str(folder))
    assert dataset_change(dataset) is None
    os.utime(folder / "a.jsonl", ns=(1, 1))
    assert dataset_change(dataset) is None
    tiny.write_dataset(folder / "b.jsonl", 2)
    assert dataset_change(dataset) == "rows.jsonl had 48 rows, now 55"
    alone = replace(plan.dataset, path=str(folder), seen=seen_dataset([folder]))
    assert dataset_change(alone) is None
    (folder / "a.jsonl").unlink()
    assert dataset_change(alone) == "more had 48 rows, now 2"
    (folder / "b.jsonl").unlink()
    assert dataset_change(alone) == f"{folder} is gone"
