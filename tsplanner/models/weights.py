"""The weights beside a config.json: the files that transformers loads, and why there are none.

transformers loads ``model.safetensors``, or the shards that ``model.safetensors.index.json`` names.
Nothing is unpickled here and no tensor is read: names, sizes and headers tell enough.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from memory_models.frozen import frozen

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MOST_INDEX_BYTES = 64 * 1024 * 1024
MOST_HEADER_BYTES = 64 * 1024 * 1024
"""Headers over this size are not read; those of the largest models have some hundred KB."""
LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header."""
POINTER = b"version https://git-lfs"
"""Begin of a Git LFS pointer, which stands in for a file that was not fetched."""
OTHER_FORMATS = (".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack")
NO_MODEL = ("training_args", "optimizer", "scheduler", "scaler", "rng_state", "adapter")
"""Begins of names that checkpoints and adapters use for other things than a model's weights."""


@frozen
class WeightFiles:
    """The files of a model's weights; none, and why, where they cannot be loaded."""

    files: tuple[Path, ...] = ()
    """The single file, or all shards in order; empty: there are no weights that can be loaded."""
    problem: str | None = None
    """What lies there instead, as a clause; None: nothing does, or there are weights."""


def find_weights(folder: Path) -> WeightFiles:
    """The weights in a model's folder, by their names alone."""
    if (folder / SINGLE).is_file():
        return WeightFiles(files=(folder / SINGLE,))
    if (folder / INDEX).is_file():
        return _shards(folder)
    return WeightFiles(problem=_instead(folder))


def _shards(folder: Path) -> WeightFiles:
    """The shards of an index; none if one is missing, for a model is loaded whole."""
    names = _indexed(folder / INDEX)
    if not names:
        return WeightFiles(problem=f"{INDEX} names no shards: fetch it again")
    # A name with a separator would lead out of the folder, and the hub's indexes have none.
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        count = len(names) - len(missing)
        return WeightFiles(
            problem=f"{count} of {len(names)} shards that {INDEX} names are there, and "
            f"{missing[0]} is missing: fetch the rest"
        )
    return WeightFiles(files=tuple(folder / name for name in names))


def _indexed(path: Path) -> list[str]:
    """Names of the shards of an index, sorted; empty if it cannot be read."""
    try:
        if path.stat().st_size > MOST_INDEX_BYTES:
            return []
        found = json.loads(path.read_bytes())
        shards = found["weight_map"].values()
        return sorted({name for name in shards if isinstance(name, str)})
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return []


def _instead(folder: Path) -> str | None:
    """What weights there are that are not loaded, and what to do; None: there are none."""
    names = sorted(path.name for path in _listed(folder))
    shards = [name for name in names if name.endswith(".safetensors") and _is_model(name)]
    if shards:
        return (
            f"{shards[0]} is there without {INDEX}, and transformers loads {SINGLE} or what that "
            "index names: fetch the rest"
        )
    others = [name for name in names if name.endswith(OTHER_FORMATS) and _is_model(name)]
    if not others:
        return None
    return (
        f"the weights are there only as {others[0]}, which tsplanner does not read: convert to "
        f"safetensors with {conversion(folder, others[0])}"
    )


def _listed(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:
        return


def _is_model(name: str) -> bool:
    return not name.startswith(NO_MODEL)


def conversion(folder: Path, name: str) -> str:
    """A command that saves weights of another format as safetensors beside them."""
    import shlex

    # Double quotes inside, for the shell's single ones around.
    where, file = json.dumps(str(folder)), json.dumps(name)
    if name.endswith((".bin", ".gguf")):
        extra = f", gguf_file={file}" if name.endswith(".gguf") else ""
        code = (
            "from transformers import AutoModelForCausalLM as M; "
            f"M.from_pretrained({where}{extra}).save_pretrained({where})"
        )
        return f"python -c {shlex.quote(code)}"
    return "safetensors.torch.save_file, or the conversion script of the model's authors"


def damage(weights: WeightFiles) -> str | None:
    """Why one of the files is no whole safetensors file, as a clause; None: all look whole."""
    for path in weights.files:
        if why := _damage(path):
            return f"{path.name} {why}"
    return None


def _damage(path: Path) -> str | None:
    try:
        size = path.stat().st_size
        header = read_header(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if header.startswith(POINTER):
        return "is a Git LFS pointer and no weights: run git lfs pull"
    told = int.from_bytes(header[:LENGTH_BYTES], "little")
    if len(header) < LENGTH_BYTES or told + LENGTH_BYTES > size:
        return f"is cut off after {size:,} bytes: fetch it again"
    if told > MOST_HEADER_BYTES:
        return None
    try:
        end = LENGTH_BYTES + told + _data_bytes(json.loads(header[LENGTH_BYTES:]))
    except (ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError):
        return "has no header of a safetensors file: fetch it again"
    if end > size:
        return f"is cut off: it has {size:,} of {end:,} bytes: fetch it again"
    return None


def _data_bytes(header: Mapping[str, Mapping[str, list[int]]]) -> int:
    """Bytes of all tensors by a decoded header."""
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return max(ends, default=0)


def read_header(path: Path) -> bytes:
    """The first bytes of a safetensors file: the length of its header and the header.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(LENGTH_BYTES)
        if POINTER.startswith(start) and start:
            return start + stream.read(len(POINTER) - LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        return start + (stream.read(length) if length <= MOST_HEADER_BYTES else b"")
