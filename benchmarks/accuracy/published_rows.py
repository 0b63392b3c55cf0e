"""Published measurements of fine-tuning as records: what was set, and what was measured.

The files and their keys are described in ``benchmarks/data/published/README.md``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "data" / "published"
BYTES = {"B": 1, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}
NOT_SAID = "not said"
"""An instrument that no source names: its figures are read as the process, in GiB."""
SEEN_BEFORE = frozenset({"qwen-readme", "unsloth-readme", "axolotl-pr-1000"})
"""Sources of the set-aside half of which single rows were predicted in an earlier look."""


class Half(StrEnum):
    """Whether errors of single rows were looked at while the model was changed."""

    SEEN = "seen"
    SET_ASIDE = "set-aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A measured peak of one GPU."""

    instrument: str
    """``allocated``, ``reserved``, ``process`` or ``not said``."""
    bytes: int

    @property
    def quantity(self) -> str:
        """The field of a memory estimate that this is held against."""
        kind = "process" if self.instrument == NOT_SAID else self.instrument
        return "process_bytes" if kind == "process" else f"peak_{kind}_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """A measured time, in seconds of an optimizer step."""

    seconds: float
    case: dict[str, Any]
    """Settings of the step that was timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One row of a source."""

    source: str
    trainer: str
    gpu: str
    case: dict[str, Any]
    """Settings with the keys of ``tsplanner estimate``, without the GPU."""
    memory: tuple[Memory, ...]
    time: Time | None
    ran: bool
    """False: it is known to have run out of memory."""
    stated: bool
    """Whether every setting that memory depends on is stated."""
    beyond: str = ""
    """What the run had that no case can say; empty: nothing that is known."""
    note: str = ""

    @property
    def half(self) -> Half:
        """The half that its source is in."""
        return half_of(self.source)

    @property
    def world_size(self) -> int:
        """GPUs that worked together."""
        return int(self.case.get("world_size", 1))


def half_of(source: str) -> Half:
    """The half of a source: by whether the SHA-256 of its name is even or odd."""
    odd = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 2
    return Half.SET_ASIDE if odd else Half.SEEN


def published(half: Half | None = None, folder: Path = FOLDER) -> list[Published]:
    """Rows of all sources, or of those of one half."""
    found = []
    for path in sorted(folder.glob("*.json")):
        if half is None or half_of(path.stem) is half:
            found += list(rows_of(json.loads(path.read_text(encoding="utf-8"))))
    return found


def rows_of(document: dict[str, Any]) -> Iterator[Published]:
    """The rows of one file."""
    for row in document["rows"]:
        case = {"model": model_path(row["model"]), **document["case"], **row["case"]}
        yield Published(
            source=document["source"],
            trainer=document["trainer"],
            gpu=row["gpu"],
            case=case,
            memory=tuple(_memory(each) for each in row.get("memory", ())),
            time=_time(row["time"], case) if "time" in row else None,
            ran=row.get("ran", True),
            stated=row["stated"],
            beyond=row.get("beyond", ""),
            note=row.get("note", ""),
        )


def model_path(name: str) -> str:
    """What ``tsplanner estimate --model`` takes: a preset, or a path below the folder."""
    return str((FOLDER / name).resolve()) if "/" in name else name


def _memory(values: dict[str, Any]) -> Memory:
    unit = "GiB" if values["instrument"] == NOT_SAID else values["unit"]
    return Memory(instrument=values["instrument"], bytes=round(values["value"] * BYTES[unit]))


def _time(values: dict[str, Any], case: dict[str, Any]) -> Time:
    timed = {**case, **values.get("case", {})}
    if "seconds_per_step" in values:
        return Time(seconds=values["seconds_per_step"], case=timed)
    tokens = timed["sequence_length"] * timed.get("micro_batch_size", 1)
    tokens *= timed.get("gradient_accumulation_steps", 1)
    return Time(seconds=tokens / values["tokens_per_second"], case=timed)
