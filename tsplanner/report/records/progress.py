"""How far a run folder has come: nothing yet, at work, over, or left without an end. Only reads."""

from __future__ import annotations

import contextlib
import time
from enum import StrEnum
from pathlib import Path

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.errors import TsplannerError
from tsplanner.folders.newest import changed_ns
from tsplanner.folders.owner import OWNER_FILE, Owner, read_owner
from tsplanner.identity import is_stopped, lives_here
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.missing_record import LOG_FILE
from tsplanner.probe.process_records import read_record
from tsplanner.probe.runner import JOB_FILE, METRICS_FILE
from tsplanner.report.records.metric_lines import points
from tsplanner.report.records.pace import Pace, pace_of
from tsplanner.report.records.read_runs import own_run, run_folders, run_name, search_remarks
from tsplanner.report.records.run_record import RunSummary
from tsplanner.report.records.trials import TRIALS, Trial, read_trials
from tsplanner.training.job import JobKind, Status
from tsplanner.training.pulse import Phase, pulse_files, read_beat
from tsplanner.training.record import (
    Evaluation,
    MeasuredLosses,
    MeasuredMemory,
    MeasuredTime,
    Record,
)
from tsplanner.tune.run_folder import SEARCH_PLAN
from tsplanner.tune.study.storage import holds_study

WORKING_FOLDERS = (f"{TRIALS}/*", "packs/*")
"""Where workers of a search leave signs of life, beside the run folder itself."""
NS = 1e9


class State(StrEnum):
    """Where a run folder stands."""

    NOT_BEGUN = "not_begun"
    AT_WORK = "at_work"
    """Its process lives, or lives on another host as far as is known."""
    UNKNOWN = "unknown"
    """No process noted itself: an exported run, or one of an earlier version."""
    CUT_OFF = "cut_off"
    """Its process is gone, and left no record of the end."""
    OVER = "over"
    FAILED = "failed"
    """Its record says that it did not come to its end."""


@frozen
class Progress:
    """A run folder as it is now."""

    folder: Path
    name: str
    state: State
    owner: Owner | None = None
    plan: Plan | None = None
    """None: none is there yet, or it cannot be read."""
    pace: Pace | None = None
    """None: the full run has not begun."""
    record: Record | None = None
    silent_seconds: float | None = None
    """Since a worker last gave a sign of life, by the clock; None: none ever did."""
    phase: Phase | None = None
    is_halted: bool = False
    """A signal has stopped its process, which may go on."""
    trials: tuple[Trial, ...] = ()
    """Trials without a record."""

    @property
    def is_open(self) -> bool:
        """Whether there is no record of an end."""
        return self.record is None

    @property
    def is_search(self) -> bool:
        """Whether the folder is resumed as a search."""
        return holds_study(self.folder)


def is_run(folder: Path) -> bool:
    """Whether a folder is one of a run, which may be about to begin."""
    names = (OWNER_FILE, JOB_FILE, "record.json", METRICS_FILE, SEARCH_PLAN)
    return holds_study(folder) or any((folder / name).is_file() for name in names)


def read_progress(folder: Path, saves: Path) -> Progress:
    """A run folder as it is now; what cannot be read counts as not there."""
    record, owner = read_record(folder), read_owner(folder)
    plan, beat = _plan(folder), read_beat(folder)
    lines = runs.read_json_lines(folder / METRICS_FILE)
    process = None if owner is None else owner.process
    here = process is not None and lives_here(process.host, process.pid, process.started)
    return Progress(
        folder=folder,
        name=run_name(folder, saves),
        state=_state(folder, record, owner),
        owner=owner,
        plan=plan,
        pace=_pace(plan, lines) if (folder / JOB_FILE).is_file() else None,
        record=record,
        silent_seconds=_silent_seconds(folder),
        phase=None if beat is None else beat.phase,
        is_halted=bool(here and process is not None and is_stopped(process.pid))
        or (beat is not None and bool(here) and is_stopped(beat.pid)),
        trials=tuple(trial for trial in read_trials(folder) if trial.status is None),
    )


def _plan(folder: Path) -> Plan | None:
    for name in (runs.PLAN_FILE, SEARCH_PLAN):
        with contextlib.suppress(TsplannerError, OSError):
            return read_plan(folder / name)
    return None


def _pace(plan: Plan | None, lines: list[dict[str, object]]) -> Pace | None:
    if plan is None:
        return None
    pace = pace_of(plan)
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, OverflowError):  # a line of another hand
            pace.see(line)
    return pace


def _state(folder: Path, record: Record | None, owner: Owner | None) -> State:
    if record is not None:
        return State.OVER if record.status is Status.OK else State.FAILED
    if owner is None:
        begun = (folder / JOB_FILE).is_file() or (folder / METRICS_FILE).is_file()
        return State.UNKNOWN if begun else State.NOT_BEGUN
    process = owner.process
    gone = lives_here(process.host, process.pid, process.started) is False
    return State.CUT_OFF if owner.left or gone else State.AT_WORK


def _silent_seconds(folder: Path) -> float | None:
    files = (
        path
        for place in (folder, *(found for each in WORKING_FOLDERS for found in folder.glob(each)))
        for path in (place / METRICS_FILE, place / LOG_FILE, *pulse_files(place))
    )
    latest = max((changed_ns(path) for path in files), default=0)
    return max(0.0, time.time() - latest / NS) if latest else None


def run_so_far(found: Progress) -> RunSummary | None:
    """A run without a record as the report sees runs; None: there is no plan to read it by."""
    if found.plan is None:
        return None
    lines = runs.read_json_lines(found.folder / METRICS_FILE) if found.pace else []
    record = record_so_far(found.pace, lines)
    remarks = search_remarks(found.folder)
    return own_run(found.name, found.plan, record, found.folder, remarks)


def record_so_far(pace: Pace | None, lines: list[dict[str, object]]) -> Record:
    """What a worker would record if it ended at its newest line."""
    losses = [value for _, value in points(lines, "loss")]
    seconds = [value for _, value in points(lines, "seconds")]
    epochs = dict(points(lines, "epoch"))
    return Record(
        status=Status.STOPPED,
        kind=JobKind.TRAIN,
        steps=0 if pace is None else pace.step,
        epochs=0.0 if pace is None else pace.epoch,
        memory=MeasuredMemory(process_bytes=None if pace is None else pace.process_bytes),
        timing=MeasuredTime(seconds=max(seconds, default=0.0)),
        losses=MeasuredLosses(
            last_loss=losses[-1] if losses else None,
            mean_loss=sum(losses) / len(losses) if losses else None,
            evaluations=tuple(
                Evaluation(epoch=epochs.get(step, 0.0), step=int(step), loss=value)
                for step, value in points(lines, "eval_loss")
                if step > 0
            ),
        ),
    )


def open_runs(saves: Path) -> list[Progress]:
    """Runs and searches under a folder without a record of an end, those at work first."""
    folders = {*run_folders(saves), *(path.parent for path in saves.glob(f"**/{OWNER_FILE}"))}
    found = [
        read_progress(folder, saves)
        for folder in sorted(folders)
        if TRIALS not in folder.relative_to(saves).parts and read_record(folder) is None
    ]
    return sorted(found, key=lambda each: each.state is not State.AT_WORK)
