"""Runs of two ranks on the CPU, what breaks one of them, and who is left of their processes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.support import tiny
from tsplanner.planner.plan import Plan
from tsplanner.training.job import Job, JobKind

BREAKS = """
import os, threading, time

def patch():
    import sys
    name = "tsplanner.training.solo.trainer"
    while name not in sys.modules or sys.modules[name].__spec__._initializing:
        time.sleep(0.005)
    found = sys.modules[name].PlanCallback
    began = found.on_step_begin

    def on_step_begin(self, args, state, *rest, **options):
        if state.global_step == {step}:
            {what}
        began(self, args, state, *rest, **options)

    found.on_step_begin = on_step_begin

if os.environ.get("RANK") == "1":
    threading.Thread(target=patch, daemon=True).start()
"""
"""A sitecustomize.py that breaks rank 1 as it begins a step."""


def breaking(folder: Path, what: str, *, step: int = 3) -> dict[str, str]:
    """Environment whose rank 1 runs ``what`` before a step (counted from 0)."""
    place = folder / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(BREAKS.format(what=what, step=step))
    paths = [str(place), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def plan(folder: Path, *, epochs: int = 2, **hardware: Any) -> Plan:
    """The tiny plan on two ranks, at its effective batch of 4."""
    found = tiny.with_learning(tiny.plan(folder), num_train_epochs=epochs)
    split = {"world_size": 2, "micro_batch_size": 1, "gradient_accumulation_steps": 2}
    return tiny.with_hardware(found, **(split | hardware))


def job(folder: Path, kind: JobKind = JobKind.TRIAL, **options: Any) -> Job:
    """A job of two ranks; ``epochs`` and hardware settings go to its plan."""
    own = {name: options.pop(name) for name in ("resume",) if name in options}
    return Job(
        kind=kind, plan=plan(folder, **options), folder=str(folder / "run"), threads=1, **own
    )


def at_step(step: int, act: Callable[[], object]) -> Callable[[dict[str, Any]], None]:
    """Handler of metrics that acts once, when a step is logged."""
    done: list[int] = []

    def on_metrics(row: dict[str, Any]) -> None:
        if row.get("loss") is not None and row["step"] >= step and not done:
            done.append(row["step"])
            act()

    return on_metrics


def rank_process(rank: int, pid: int | None = None) -> psutil.Process:
    """The process of a rank among the descendants of a process (by default this one)."""
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.environ().get("RANK") == str(rank):
                return child
    raise AssertionError(f"rank {rank} does not run")


def all_gone(processes: list[psutil.Process], seconds: float = 15.0) -> bool:
    """Whether these processes end in time; one that waits to be reaped has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(running(process) for process in processes):
            return True
        time.sleep(0.05)
    return False


def running(process: psutil.Process) -> bool:
    """Whether a process still works."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
