"""Figures of a run: metrics.jsonl line by line during the run, record.json at its end."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tsplanner import runs
from tsplanner.training import distributed
from tsplanner.training.job import ANSWERS_FILE, Job, JobKind, Status
from tsplanner.training.memory import MemoryMeter
from tsplanner.training.pulse import Pulse
from tsplanner.training.record import (
    Evaluation,
    MeasuredLosses,
    MeasuredMemory,
    MeasuredTime,
    Record,
    Unchecked,
    ValuesChecked,
    parse_record,
    record_file,
    record_so_far,
)
from tsplanner.training.solo.saving import checkpoint_folder

METRICS_FILE = "metrics.jsonl"
EVAL_ROWS_FILE = "eval_rows.json"
"""File of the losses of every held-out row at the best evaluation, for comparisons of runs."""
EVAL_MARKS_FILE = "eval_rows.jsonl"
"""File of these losses at every evaluation of a trial, one line each, for early stopping."""
PROBE_WARMUP_STEPS = 2
"""Steps with one-time costs: kernels are chosen, optimizer states made, segments reserved."""

MEMORY_SECONDS = 30.0
"""Time between two lines of a full run that tell the peak of memory: the driver is slow to ask."""


class Recorder:
    """Collects and writes the figures of one job; only the first process writes lines."""

    def __init__(self, job: Job, meter: MemoryMeter) -> None:
        self.job = job
        self.meter = meter
        self.folder = Path(job.folder)
        self.pulse = Pulse(self.folder, writes=distributed.is_main())
        self.load_seconds: float | None = None
        self.device_name = ""
        self.message = ""
        self.steps = 0
        self.epochs = 0.0
        self.seconds = 0.0
        self.step_seconds: list[float] = []
        self.rows: int | None = None
        """Number of rows of all steps; None: each step has the plan's effective batch."""
        self.losses: list[float] = []
        self.start_eval_loss: float | None = None
        self.evaluations: list[Evaluation] = []
        self.values: ValuesChecked | None = None
        self.unchecked: Unchecked | None = None
        self._memory: MeasuredMemory | None = None
        self._memory_before = MeasuredMemory()
        """The peaks of the parts of the run that were cut off."""
        self._asked = float("-inf")
        """When the peak of memory was asked for, by the monotonic clock."""
        self._began = time.monotonic()
        self._seconds_before = 0.0

    def begin(self, step: int) -> None:
        """Start the clock; a resumed run keeps the lines and the measurements up to ``step``.

        Later lines are of work that the crash lost and that the run repeats.
        """
        kept = self._kept(METRICS_FILE, step)
        if distributed.is_main():
            runs.write_text(self.folder / METRICS_FILE, _as_lines(kept))
            if not step:
                (self.folder / EVAL_MARKS_FILE).unlink(missing_ok=True)
                (self.folder / ANSWERS_FILE).unlink(missing_ok=True)
            elif answers := self._kept(ANSWERS_FILE, step):
                runs.write_text(self.folder / ANSWERS_FILE, _as_lines(answers))
        for row in kept:
            self._remember(row)
        self._seconds_before = max((_number(row, "seconds") or 0.0 for row in kept), default=0.0)
        # A run that was killed after its last step writes no further line.
        self.seconds = self._seconds_before
        if step:
            self._join_so_far(checkpoint_folder(self.folder, step))
        self._began = time.monotonic()

    def _join_so_far(self, checkpoint: Path) -> None:
        """Go on from what was measured up to a checkpoint; one of an older version does not say."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            found = parse_record(record_so_far(checkpoint, distributed.rank()).read_bytes())
            self._memory_before = found.memory
            self.step_seconds = [*found.timing.step_seconds, *self.step_seconds]

    def saved(self, step: int) -> None:
        """Leave what was measured so far in a checkpoint, for whoever goes on from there."""
        checkpoint = checkpoint_folder(self.folder, step)
        if checkpoint.is_dir():
            path = record_so_far(checkpoint, distributed.rank())
            runs.write_bytes(path, msgspec.json.encode(self._record(Status.STOPPED, "")))

    def _kept(self, name: str, step: int) -> list[dict[str, object]]:
        """The whole lines of a file up to a step; none of a run that begins."""
        rows = runs.read_json_lines(self.folder / name) if step else []
        return [row for row in rows if int(_number(row, "step") or 0) <= step]

    def step(self, *, step: int, epoch: float, logs: dict[str, Any]) -> None:
        """Write the line of one optimizer step."""
        self._write(
            {
                "step": step,
                "epoch": round(epoch, 6),
                "loss": _finite(logs.get("loss")),
                "learning_rate": _finite(logs.get("learning_rate")),
                "grad_norm": _finite(logs.get("grad_norm")),
                **self._peak(),
            }
        )

    def _peak(self) -> dict[str, int]:
        """The peak of this process so far, now and then, for whoever watches a full run."""
        now = time.monotonic()
        if self.job.kind is not JobKind.TRAIN or now - self._asked < MEMORY_SECONDS:
            return {}
        self._asked = now
        found = self._measured().process_bytes
        return {} if found is None else {"process_bytes": found}

    def evaluation(self, *, step: int, epoch: float, rows: Sequence[tuple[float, int]]) -> float:
        """Write one evaluation of held-out rows (mean loss, tokens); returns the loss per token."""
        tokens = sum(count for _, count in rows)
        loss = sum(mean * count for mean, count in rows) / max(1, tokens)
        best = self.best_evaluation
        # This is asked before `_write`, which adds this evaluation to those that are compared.
        better = step and math.isfinite(loss) and (best is None or loss < best.loss)
        value = {"step": step, "rows": [[mean, count] for mean, count in rows]}
        if self.job.kind is JobKind.TRIAL and distributed.is_main():
            # These losses are written before the line in metrics.jsonl: the search reads that line
            # first and then looks here for the losses.
            line = {**value, "epoch": round(epoch, 6)}
            runs.append_line(self.folder / EVAL_MARKS_FILE, json.dumps(line))
        self._write({"step": step, "epoch": round(epoch, 6), "eval_loss": _finite(loss)})
        if better and distributed.is_main():
            runs.write_json(self.folder / EVAL_ROWS_FILE, value)
        return loss

    @property
    def best_evaluation(self) -> Evaluation | None:
        """The evaluation with the lowest loss so far, without the one before the first step."""
        return min(self.evaluations, key=lambda item: item.loss, default=None)

    def _write(self, row: dict[str, Any]) -> None:
        self.seconds = self._seconds_before + time.monotonic() - self._began
        row["seconds"] = round(self.seconds, 3)
        if distributed.is_main():
            runs.append_line(self.folder / METRICS_FILE, json.dumps(row))
        self._remember(row)

    def _remember(self, row: dict[str, Any]) -> None:
        step, epoch = int(row.get("step") or 0), float(row.get("epoch") or 0.0)
        self.steps, self.epochs = step, epoch
        if row.get("loss") is not None:
            self.losses.append(float(row["loss"]))
        eval_loss = row.get("eval_loss")
        if eval_loss is None:
            return
        if step == 0:
            self.start_eval_loss = float(eval_loss)
        else:
            self.evaluations.append(Evaluation(epoch=epoch, step=step, loss=float(eval_loss)))

    def finish(self, status: Status, message: str = "") -> Record:
        """Write record.json, whole, and return it."""
        record = self._record(status, message or self.message)
        write_record(self.folder, record)
        return record

    def _record(self, status: Status, message: str) -> Record:
        """What was measured so far, with the parts before a resume."""
        probe = self.job.kind is JobKind.PROBE
        return Record(
            status=status,
            kind=self.job.kind,
            message=message,
            process=distributed.rank(),
            device_name=self.device_name,
            steps=self.steps,
            epochs=self.epochs,
            memory=self._memory or self._measured(),
            timing=MeasuredTime(
                load_seconds=self.load_seconds,
                step_seconds=tuple(self.step_seconds),
                warmup_steps=min(PROBE_WARMUP_STEPS, len(self.step_seconds)) if probe else 0,
                seconds=self.seconds,
                samples_per_second=self._samples_per_second(probe),
            ),
            losses=self._measured_losses(),
            versions=runs.versions(),
        )

    def _measured(self) -> MeasuredMemory:
        return measured_memory(self.meter).joined(self._memory_before)

    def _measured_losses(self) -> MeasuredLosses:
        return MeasuredLosses(
            first_loss=self.losses[0] if self.losses else None,
            last_loss=self.losses[-1] if self.losses else None,
            mean_loss=statistics.fmean(self.losses) if self.losses else None,
            start_eval_loss=self.start_eval_loss,
            evaluations=tuple(self.evaluations),
            values=self.values,
            unchecked=self.unchecked,
        )

    def end_of_training(self) -> None:
        """Keep the peaks so far: what follows is no part of what the plan predicts."""
        self._memory = self._measured()

    def _samples_per_second(self, probe: bool) -> float | None:
        """Rows per second of the optimizer steps, without evaluations and warm-up."""
        timed = self.step_seconds[PROBE_WARMUP_STEPS:] if probe else self.step_seconds
        if not timed:
            return None
        if self.rows is not None:
            return self.rows / sum(self.step_seconds)
        # The median step counts, because the last step of an epoch may have fewer rows.
        return self.job.plan.hardware.effective_batch_size / statistics.median(timed)


def measured_memory(meter: MemoryMeter) -> MeasuredMemory:
    """What the meter has seen so far."""
    peaks = meter.peaks()
    return MeasuredMemory(
        peak_allocated_bytes=peaks.allocated,
        peak_reserved_bytes=peaks.reserved,
        process_bytes=peaks.process,
        host_bytes=peaks.host,
        pinned_bytes=peaks.pinned,
        baseline_bytes=None if meter.cuda else meter.baseline_bytes,
        allocation_retries=peaks.retries,
    )


def write_record(folder: Path, record: Record) -> None:
    """Write record.json, whole or not at all."""
    path = record_file(folder, record.process)
    runs.write_bytes(path, msgspec.json.format(msgspec.json.encode(record)))


def _as_lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _finite(value: Any) -> float | None:
    """A float that JSON can hold; NaN and infinity become None."""
    return float(value) if value is not None and math.isfinite(float(value)) else None


def _number(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else None
