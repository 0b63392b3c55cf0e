"""Which files a dataset is: files, a folder of files, or a folder saved by ``datasets``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from memory_models.frozen import frozen
from tsplanner.datasets.files.kinds import ENDINGS
from tsplanner.datasets.records import DataSource
from tsplanner.errors import TsplannerError, did_you_mean, named

STATE, SPLITS = "state.json", "dataset_dict.json"
"""Files in a folder saved by ``datasets``: of one split, and of several splits."""
NOT_ROWS = frozenset({STATE, SPLITS, "dataset_info.json", "dataset_infos.json"})
TRAIN = "train"
HELD_OUT = ("test", "valid", "validation", "val", "dev", "eval", "evaluation")
"""Names of splits that are kept from training."""
MOST_NAMED = 3
_SPLIT = re.compile(rf"(?:^|[-_./])({'|'.join((TRAIN, *HELD_OUT))})(?=[-_./0-9]|$)", re.IGNORECASE)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)


@frozen
class Found:
    """The files of a dataset, and what was guessed or left out to find them."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def data_source(given: Path | DataSource) -> DataSource:
    """A source; a path alone is a source of one file or folder."""
    return given if isinstance(given, DataSource) else DataSource(paths=(str(given),))


def dataset_files(paths: Sequence[Path]) -> Found:
    """The files that ``paths`` name, folders opened, in the order given.

    Raises TsplannerError: a name is no file or folder, a folder has no file of rows, or a file is
    named twice.
    """
    files: list[Path] = []
    notes: list[str] = []
    for path in paths:
        found = _folder(path) if path.is_dir() else Found(paths=(_existing(path),))
        files += found.paths
        notes += found.notes
    twice = next((path for index, path in enumerate(files) if path in files[:index]), None)
    if twice is not None:
        raise TsplannerError(f"dataset {twice} is given twice; its rows would count double")
    return Found(paths=tuple(files), notes=tuple(notes))


def _existing(path: Path) -> Path:
    """The path of a file or device. Raises TsplannerError: there is none."""
    try:
        if path.exists():
            return path
    except ValueError:
        return path  # a name with a zero byte: opening it says what is wrong
    text = str(path)
    if _ADDRESS.match(text):
        raise TsplannerError(f"dataset {text} is an address: fetch it, and give the file")
    if _HUB_ID.fullmatch(text) and not text.lower().endswith(ENDINGS):
        raise TsplannerError(
            f"dataset {text} is no file or folder here; if it is a dataset of the hub, fetch it "
            f"with hf download {text} --repo-type dataset --local-dir {path.name}, and give "
            f"--dataset {path.name}"
        )
    parts = text.split(",")
    if len(parts) > 1 and all(Path(part).exists() for part in parts):
        raise TsplannerError(
            f"dataset {text} names several files with commas: put blanks between them"
        )
    try:
        near = did_you_mean(path.name, sorted(each.name for each in path.parent.iterdir()))
    except OSError:
        near = ""
    raise TsplannerError(
        f"dataset {text} cannot be read: No such file or directory; check --dataset.{near}"
    )


def _folder(folder: Path) -> Found:
    """The files of a folder."""
    if (folder / SPLITS).is_file():
        splits = _listed(folder / SPLITS, "splits")
        if TRAIN not in splits:
            some = ", ".join(named(name) for name in splits[:MOST_NAMED])
            raise TsplannerError(
                f"{folder} was saved by datasets with the splits {some} and without "
                f'"{TRAIN}"; give the folder of one split'
            )
        others = [name for name in splits if name != TRAIN]
        note = f"of {folder} the split {TRAIN} is read"
        note += f", not {', '.join(others)}" if others else ""
        return Found(paths=_saved(folder / TRAIN), notes=(note,))
    if (folder / STATE).is_file():
        return Found(paths=_saved(folder))
    return _plain_folder(folder)


def _saved(folder: Path) -> tuple[Path, ...]:
    """The Arrow files of one split that ``datasets`` saved."""
    names = _listed(folder / STATE, "_data_files")
    # A name that leads out of the folder was not written by the library.
    return tuple(folder / Path(name).name for name in names)


def _listed(file: Path, field: str) -> list[str]:
    """Names that a file of ``datasets`` lists. Raises TsplannerError: it does not."""
    try:
        found = json.loads(file.read_bytes())[field]
        names = [each["filename"] if isinstance(each, dict) else each for each in found]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        names = []
    if not names or not all(isinstance(name, str) for name in names):
        raise TsplannerError(f"{file} does not list {field}; save the dataset again")
    return names


def _plain_folder(folder: Path) -> Found:
    """All files of rows below a folder, or those for training where names say which they are."""
    _refuse_collection(folder)
    rows: list[Path] = []
    others: list[Path] = []
    for path in _visible(folder):
        name = path.name.lower().removesuffix(".gz")
        (rows if name.endswith(ENDINGS) and name not in NOT_ROWS else others).append(path)
    if not rows:
        raise TsplannerError(
            f"folder {folder} holds no file of rows ({', '.join(ENDINGS)}); check --dataset"
        )
    notes = []
    splits = {path: _split(path.relative_to(folder)) for path in rows}
    held_out = [path for path in rows if splits[path] in HELD_OUT]
    if held_out and TRAIN in splits.values():
        rows = [path for path in rows if path not in held_out]
        notes.append(f"held out by name and not read: {_some(held_out, folder)}")
    if others:
        notes.append(f"no files of rows: {_some(others, folder)}")
    return Found(paths=tuple(rows), notes=tuple(notes))


def _refuse_collection(folder: Path) -> None:
    """Raise TsplannerError for a folder of LLaMA-Factory, whose files are datasets of their own."""
    try:
        listed = json.loads((folder / "dataset_info.json").read_bytes())
        files = [each["file_name"] for each in listed.values() if "file_name" in each]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return
    if files:
        raise TsplannerError(
            f"{folder} holds datasets of their own, which its dataset_info.json lists: give one of "
            f"its files, such as {folder / str(files[0])}"
        )


def _visible(folder: Path) -> Iterator[Path]:
    """Files below a folder in the order of their names, hidden ones left out."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _visible(path)
        elif path.is_file():
            yield path


def _split(path: Path) -> str:
    """The split that a name speaks of; empty: none."""
    found = _SPLIT.search(path.as_posix().lower())
    return found[1].lower() if found else ""


def _some(paths: Sequence[Path], folder: Path) -> str:
    """The first few names of files."""
    names = [str(path.relative_to(folder)) for path in paths[:MOST_NAMED]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
