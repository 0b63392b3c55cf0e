"""Which files a name stands for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tsplanner.datasets.files.folders import data_source, dataset_files
from tsplanner.datasets.records import DataSource
from tsplanner.errors import TsplannerError


def folder(root: Path, *names: str) -> Path:
    """A folder with files of these names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return root


def test_files_are_taken_in_the_order_given_and_folders_in_the_order_of_names(
    tmp_path: Path,
) -> None:
    """Hidden files and files of other kinds are no rows; the latter are named."""
    root = folder(
        tmp_path / "d", "b.jsonl", "a.csv.gz", "sub/c.parquet", ".x.jsonl", "README.md", "x.png"
    )
    single = folder(tmp_path, "z.json") / "z.json"
    found = dataset_files([single, root])
    assert found.paths == (
        single, root / "a.csv.gz", root / "b.jsonl", root / "sub" / "c.parquet",
    )  # fmt: skip
    assert found.notes == ("no files of rows: README.md, x.png",)


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (("train.jsonl", "test.jsonl"), ["train.jsonl"]),
        (
            ("data/train-00000-of-2.parquet", "data/validation-0.parquet"),
            ["train-00000-of-2.parquet"],
        ),
        (("train/a.jsonl", "dev/a.jsonl", "rest.jsonl"), ["rest.jsonl", "a.jsonl"]),
        # Without a part for training nobody knows what was held out.
        (("test.jsonl", "more.jsonl"), ["more.jsonl", "test.jsonl"]),
        (("training_evals.jsonl", "protest.jsonl"), ["protest.jsonl", "training_evals.jsonl"]),
    ],
)
def test_rows_that_are_held_out_by_name_are_not_trained_on(
    tmp_path: Path, names: tuple[str, ...], read: list[str]
) -> None:
    """Where some files are for training, those for tests are left out and named."""
    found = dataset_files([folder(tmp_path, *names)])
    assert [path.name for path in found.paths] == read
    assert bool(found.notes) == (len(read) < len(names))


def saved(root: Path, *names: str) -> Path:
    """A folder as ``datasets`` saves one split."""
    folder(root, *names)
    files = [{"filename": name} for name in names]
    (root / "state.json").write_text(json.dumps({"_data_files": files}))
    return root


def test_a_folder_saved_by_datasets_is_read_as_its_state_says(tmp_path: Path) -> None:
    """An Arrow file of an earlier save that is not listed is no part of it."""
    root = saved(tmp_path, "data-0.arrow", "data-1.arrow")
    folder(root, "old.arrow", "dataset_info.json")
    assert dataset_files([root]).paths == (root / "data-0.arrow", root / "data-1.arrow")


def test_of_several_saved_splits_the_one_for_training_is_read(tmp_path: Path) -> None:
    """Which one is read is said; without one the splits are named."""
    saved(tmp_path / "train", "data-0.arrow")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found = dataset_files([tmp_path])
    assert found.paths == (tmp_path / "train" / "data-0.arrow",)
    assert found.notes == (f"of {tmp_path} the split train is read, not test",)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["a", "test"]}')
    with pytest.raises(TsplannerError, match='the splits "a", "test" and without "train"'):
        dataset_files([tmp_path])


def test_a_saved_name_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    """The file of the state is data, not a permission."""
    root = saved(tmp_path / "d", "x.arrow")
    (root / "state.json").write_text('{"_data_files": [{"filename": "../../etc/passwd"}]}')
    assert dataset_files([root]).paths == (root / "passwd",)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"_data_files": []}', '{"_data_files": [1]}'])
def test_a_damaged_state_is_named(tmp_path: Path, content: str) -> None:
    """The folder has to be saved again."""
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(TsplannerError, match=r"state\.json does not list _data_files"):
        dataset_files([tmp_path])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tatsu-lab/alpaca", "hf download tatsu-lab/alpaca --repo-type dataset --local-dir alpaca"),
        ("https://example.org/rows.jsonl", "is an address: fetch it, and give the file"),
        ("s3://bucket/rows.parquet", "is an address"),
        ("data/rows.jsonl", "No such file or directory; check --dataset"),
    ],
)
def test_what_is_not_here_says_how_it_gets_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    """A dataset of the hub, an address, and a path with a typing error."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TsplannerError, match=sentence):
        dataset_files([Path(name)])


def test_a_mistyped_name_gets_the_nearest_file(tmp_path: Path) -> None:
    """Of the files that lie beside it."""
    folder(tmp_path, "train.jsonl", "other.csv")
    with pytest.raises(TsplannerError, match=r'Did you mean "train\.jsonl"\?'):
        dataset_files([tmp_path / "trian.jsonl"])


def test_datasets_of_their_own_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    """LLaMA-Factory's folder lists them; names joined by commas are its way, too."""
    root = folder(tmp_path / "data", "a.json", "b.json")
    (root / "dataset_info.json").write_text(
        '{"a": {"file_name": "a.json"}, "c": {"hf_hub_url": 1}}'
    )
    with pytest.raises(TsplannerError, match=r"give one of its files, such as .*a\.json"):
        dataset_files([root])
    with pytest.raises(TsplannerError, match="names several files with commas"):
        dataset_files([Path(f"{root / 'a.json'},{root / 'b.json'}")])


def test_a_file_given_twice_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    """Rows would count double, or there are none."""
    root = folder(tmp_path / "d", "a.jsonl")
    with pytest.raises(TsplannerError, match=r"a\.jsonl is given twice"):
        dataset_files([root, root / "a.jsonl"])
    os.remove(root / "a.jsonl")
    with pytest.raises(TsplannerError, match="holds no file of rows"):
        dataset_files([root])


def test_a_path_alone_is_a_source() -> None:
    """A source stays as it is."""
    source = data_source(Path("a.jsonl"))
    assert source == DataSource(paths=("a.jsonl",))
    assert data_source(source) is source
