"""The record of a run, which a worker writes as record.json. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from memory_models.frozen import frozen
from memory_models.settings.flat import nested_values
from tsplanner.training.job import JobKind, Status


def record_so_far(checkpoint: Path, process: int) -> Path:
    """The file in a checkpoint that tells what a process had measured when it was saved."""
    return checkpoint / f"so-far-{process}.json"


def record_file(folder: Path, process: int = 0) -> Path:
    """The file of a process's record: record.json for the first process, numbered for others."""
    return folder / ("record.json" if process == 0 else f"record-{process}.json")


@frozen
class Evaluation:
    """One pass over the held-out rows."""

    epoch: float
    step: int
    loss: float
    """Mean cross-entropy per answer token, nats."""


@frozen
class MeasuredMemory:
    """Peaks in bytes; None: not known."""

    peak_allocated_bytes: int | None = None
    """Peak of the CUDA allocator; None on the CPU."""
    peak_reserved_bytes: int | None = None
    process_bytes: int | None = None
    """Peak bytes that the driver charges to this process; on the CPU the peak resident bytes."""
    host_bytes: int | None = None
    """Peak resident bytes of the process, or of all processes together in a merged record."""
    pinned_bytes: int | None = None
    """Peak of the page-locked host bytes that PyTorch's host allocator holds."""
    baseline_bytes: int | None = None
    """Resident bytes once the libraries were imported, before the model was built (CPU)."""
    allocation_retries: int = 0

    def joined(self, before: MeasuredMemory) -> MeasuredMemory:
        """The larger peaks of this part of a run and the parts before it, and all retries."""
        return MeasuredMemory(
            peak_allocated_bytes=most(self.peak_allocated_bytes, before.peak_allocated_bytes),
            peak_reserved_bytes=most(self.peak_reserved_bytes, before.peak_reserved_bytes),
            process_bytes=most(self.process_bytes, before.process_bytes),
            host_bytes=most(self.host_bytes, before.host_bytes),
            pinned_bytes=most(self.pinned_bytes, before.pinned_bytes),
            baseline_bytes=most(self.baseline_bytes, before.baseline_bytes),
            allocation_retries=self.allocation_retries + before.allocation_retries,
        )


def most(*values: int | None) -> int | None:
    """The largest of the known values; None if none is known."""
    return max((value for value in values if value is not None), default=None)


@frozen
class MeasuredTime:
    """Seconds of loading and of the optimizer steps."""

    load_seconds: float | None = None
    step_seconds: tuple[float, ...] = ()
    """Seconds of each optimizer step with warm-up, or of each pass of the base with multi-LoRA.

    A probe may run fewer micro-batches per step than the plan; these are seconds of whole steps.
    """
    warmup_steps: int = 0
    """Number of first steps to leave out."""
    seconds: float = 0.0
    """Wall time of the training loop."""
    samples_per_second: float | None = None


@frozen
class ClaimCount:
    """Claims of one kind in the answers to held-out rows."""

    kind: str
    """Name of a `ClaimKind`."""
    stated: int
    """Claims that the answers should make."""
    right: int
    """Those that they make, and that the series bear out."""


@frozen
class ValuesChecked:
    """What a trained model says of held-out series, held against the series."""

    answers: int
    """Answers that should state something which can be checked."""
    right: int
    """Answers in which all of it is right."""
    claims: tuple[ClaimCount, ...] = ()
    seconds: float = 0.0
    step: int | None = None
    """Optimizer step whose weights answered; None: not known."""


class Unchecked(StrEnum):
    """Why the answers of a trained model were not checked."""

    SHARDED = "sharded"
    """No process has the whole model (ZeRO-3, FSDP2)."""
    NO_TIME = "no_time"
    """Not one answer was made in the time for all of them."""


@frozen
class MeasuredLosses:
    """Mean cross-entropy per answer token, nats, and what else held-out rows told; None: not
    measured.
    """

    first_loss: float | None = None
    last_loss: float | None = None
    mean_loss: float | None = None
    """Mean training loss over the run."""
    start_eval_loss: float | None = None
    """Held-out loss before the first step."""
    evaluations: tuple[Evaluation, ...] = ()
    values: ValuesChecked | None = None
    """None: the rows hold no series, or nothing in their answers can be checked."""
    unchecked: Unchecked | None = None
    """Why answers that could be checked were not; None: they were, or there are none."""


@frozen
class ProcessMemory:
    """Peaks of one process of a run of several."""

    process: int
    memory: MeasuredMemory


@frozen
class Record:
    """The record of a run, written once and whole as record.json."""

    status: Status
    kind: JobKind
    message: str = ""
    """One sentence for a failure; empty for a success."""
    process: int = 0
    """Which process of the run wrote the record; of a merged record, whose end it tells."""
    device_name: str = ""
    steps: int = 0
    epochs: float = 0.0
    memory: MeasuredMemory = field(default_factory=MeasuredMemory)
    timing: MeasuredTime = field(default_factory=MeasuredTime)
    losses: MeasuredLosses = field(default_factory=MeasuredLosses)
    processes: tuple[ProcessMemory, ...] = ()
    """Peaks of each process, for a run of several processes."""
    versions: dict[str, str] = field(default_factory=dict)


def parse_record(document: bytes) -> Record:
    """The record in a record.json, also of version 0.1, which listed all fields in one object.

    Raises:
        msgspec.MsgspecError: the document is not JSON or not a record.
    """
    try:
        values = msgspec.json.decode(document)
    except RecursionError:
        raise msgspec.DecodeError("nested too deep") from None
    if isinstance(values, dict) and not MEASURED & set(values):
        values = upgraded(values)
    return msgspec.convert(values, Record)


MEASURED = {"memory", "timing", "losses"}
"""Names that no record of version 0.1 has."""
RENAMED = {"rank": "process", "ranks": "processes"}
"""Field of version 0.1 -> its name now."""


def upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a record of version 0.1 under the names of this version.

    Raises:
        msgspec.ValidationError: the values are not those of a record.
    """
    try:
        renamed = {RENAMED.get(key, key): value for key, value in values.items()}
        renamed["processes"] = [_one_process(each) for each in renamed.get("processes", ())]
        return nested_values(Record, renamed)
    except (TypeError, KeyError, AttributeError) as error:
        raise msgspec.ValidationError(f"no record: {error}") from error


def _one_process(old: dict[str, Any]) -> dict[str, Any]:
    memory = {
        "peak_allocated_bytes": old["allocated"],
        "peak_reserved_bytes": old["reserved"],
        **{f"{name}_bytes": old[name] for name in ("process", "host", "pinned")},
    }
    return {"process": old["rank"], "memory": memory}
