"""What a plan read of its model and dataset, and what of it is another now.

A file is known by its size, its time and a checksum of its content. Equal size and time are taken
for an equal file; where only the time differs the checksum decides, so that a copy on another
machine is the same file. Weights are known by the names, sizes and headers of their files, for
reading them would take minutes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from memory_models.units import counted
from tsplanner.errors import TsplannerError
from tsplanner.models.weights import INDEX, SINGLE, WeightFiles, find_weights, read_header
from tsplanner.planner.plan import DatasetRef, FileSeen, ModelRef, Plan

WHOLE_BYTES = 1 << 20
"""Files up to this size are read whole for their checksum, which takes 1 ms."""
SAMPLES, SAMPLE_BYTES = 16, 1 << 15
"""A larger file is read at so many places, of which the first and the last are its ends."""
MODEL_FILES = ("config.json", "tokenizer.json")
WEIGHTS = (SINGLE, INDEX)


def seen_file(path: Path) -> FileSeen:
    """A file as it is now.

    Raises:
        OSError: it cannot be read.
    """
    stat = path.stat()
    found = 0
    with path.open("rb") as stream:
        if stat.st_size <= WHOLE_BYTES:
            found = zlib.crc32(stream.read())
        else:
            last = stat.st_size - SAMPLE_BYTES
            for place in range(SAMPLES):
                stream.seek(last * place // (SAMPLES - 1))
                found = zlib.crc32(stream.read(SAMPLE_BYTES), found)
    return FileSeen(
        path=str(path),
        bytes=stat.st_size,
        modified_ns=stat.st_mtime_ns,
        digest=f"{found:08x}",
    )


def seen_dataset(paths: Sequence[Path]) -> FileSeen:
    """The files of a dataset as one, under the first name given.

    Raises:
        OSError: one cannot be read.
        TsplannerError: a folder holds no file of rows.
    """
    from tsplanner.datasets.files.folders import dataset_files

    first, *more = dataset_files(paths).paths
    if not more and first == paths[0]:
        return seen_file(first)
    found, size, newest = 0, 0, 0
    for path in (first, *more):
        seen = seen_file(path)
        size, newest = size + seen.bytes, max(newest, seen.modified_ns)
        found = zlib.crc32(f"{path.name} {seen.bytes} {seen.digest}".encode(), found)
    return FileSeen(path=str(paths[0]), bytes=size, modified_ns=newest, digest=f"{found:08x}")


def seen_weights(weights: WeightFiles) -> FileSeen | None:
    """All files of a model's weights as one; None: there are none.

    Raises:
        OSError: one cannot be read.
    """
    if not weights.files:
        return None
    found, size, newest = 0, 0, 0
    for path in weights.files:
        stat = path.stat()
        size, newest = size + stat.st_size, max(newest, stat.st_mtime_ns)
        found = zlib.crc32(f"{path.name} {stat.st_size} ".encode() + read_header(path), found)
    folder, name = weights.files[0].parent, weights.files[0].name
    return FileSeen(
        path=str(folder / (SINGLE if name == SINGLE else INDEX)),
        bytes=size,
        modified_ns=newest,
        digest=f"{found:08x}",
    )


def model_files(folder: Path | None, weights: WeightFiles) -> tuple[FileSeen, ...]:
    """What a plan reads of a model's folder: config, tokenizer and weights, as far as there."""
    found: list[FileSeen] = []
    if folder is None:
        return ()
    for name in MODEL_FILES:
        if (folder / name).is_file():
            found.append(seen_file(folder / name))
    if (whole := seen_weights(weights)) is not None:
        found.append(whole)
    return tuple(found)


def changes(plan: Plan) -> Iterator[str]:
    """What is another now than when the plan was made: one clause a file, with both figures."""
    yield from _model_changes(plan.model)
    if (why := dataset_change(plan.dataset)) is not None:
        yield why


def _model_changes(model: ModelRef) -> Iterator[str]:
    for then in model.files:
        weights = Path(then.path).name in WEIGHTS
        why = _change(then, "the model's weights" if weights else Path(then.path).name, weights)
        if why is not None:
            yield why
    # A plan of an older version, which noted no files, says nothing.
    if model.files and not model.has_weights and model.path is not None:
        folder = Path(model.path)
        known = {Path(then.path).name for then in model.files}
        if "config.json" in known and find_weights(folder).files:
            yield f"{folder} had no weights when the plan was made and has some now"


def dataset_change(dataset: DatasetRef) -> str | None:
    """What is another of the dataset's file, in rows where they can be counted; None: nothing."""
    then, source = dataset.seen, dataset.source
    if then is None or source is None:
        return None
    name, paths = Path(then.path).name, [Path(path) for path in source.paths]
    try:
        now = _looked_at(paths[0], then) if paths == [Path(then.path)] else seen_dataset(paths)
    except (OSError, TsplannerError):
        now = None
    why = _difference(then, now, name, f"{then.path} is gone")
    if why is None or now is None:
        return why
    rows, before = rows_now(paths), dataset.lengths.rows_total
    return why if rows in (None, before) else f"{name} had {counted(before, 'row')}, now {rows:,}"


def rows_now(paths: Sequence[Path]) -> int | None:
    """Number of rows that are no empty lines; None: a file is no longer readable."""
    from tsplanner.datasets.files.dataset import RawDataset

    try:
        return sum(1 for _ in RawDataset(paths).rows())
    except TsplannerError:
        return None


def _change(then: FileSeen, name: str, weights: bool) -> str | None:
    """How a file differs from what it was, as a clause; None: it does not."""
    path = Path(then.path)
    try:
        now = seen_weights(find_weights(path.parent)) if weights else _looked_at(path, then)
    except OSError:
        now = None
    gone = f"the weights are gone from {path.parent}" if weights else f"{path} is gone"
    return _difference(then, now, name, gone)


def _difference(then: FileSeen, now: FileSeen | None, name: str, gone: str) -> str | None:
    """How a file differs from what it was; ``gone`` says that it is no longer there."""
    if now is None:
        return gone
    if (now.bytes, now.digest) == (then.bytes, then.digest):
        return None
    if now.bytes != then.bytes:
        return f"{name} had {then.bytes:,} bytes, now {now.bytes:,}"
    return f"{name} changed in content"


def _looked_at(path: Path, then: FileSeen) -> FileSeen:
    """A file as it is now; its content is read only where the time differs."""
    if path.is_dir():
        return seen_dataset([path])
    stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) == (then.bytes, then.modified_ns):
        return then
    return seen_file(path)
