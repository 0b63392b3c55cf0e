"""Progress of steps and traces: bars for a person, a line in a pipe, nothing for JSON."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memory_models.units import counted
from tsplanner.commands.views.screen import interactive
from tsplanner.console import rich_console
from tsplanner.probe.runner import METRICS_FILE, Tail
from tsplanner.report.probe_table import candidate_words
from tsplanner.report.records.pace import Pace
from tsplanner.training.job import Job

LOOK_SECONDS = 0.2
"""How often the bars are brought up to date."""


@contextmanager
def step_bar(
    title: str, total: int, *, shown: bool, pace: Pace | None = None
) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """A progress bar over optimizer steps for a person, lines in a pipe, nothing for JSON.

    ``pace``: what is said beside the steps; None: only the newest evaluation, and one line in all.
    """
    if not shown:
        yield None
        return
    if not interactive():
        print(f"{title}  {counted(total, 'step')}", flush=True)
        yield None if pace is None else _lines(pace)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:.0f}/{task.total:.0f} steps {task.fields[note]}", markup=False),
    )
    known = Pace(total) if pace is None else pace
    with Progress(*columns, console=rich_console(sys.stdout)) as progress:
        task = progress.add_task(title, total=total, note="")

        def on_metrics(row: dict[str, Any]) -> None:
            known.see(row)
            progress.update(task, completed=known.step, note=known.words)

        yield on_metrics


def _lines(pace: Pace) -> Callable[[dict[str, Any]], None]:
    """Prints a line every so many steps and at each evaluation."""

    def on_metrics(row: dict[str, Any]) -> None:
        pace.see(row)
        if pace.is_worth_a_line or row.get("eval_loss") is not None:
            print(f"step {pace.step}/{pace.total}  {pace.words}", flush=True)

    return on_metrics


@contextmanager
def step_bars(jobs: Sequence[Job], *, shown: bool) -> Iterator[None]:
    """A bar a probe for a person, a line each in a pipe, nothing for JSON."""
    if not shown:
        yield
        return
    steps = jobs[0].probe_steps
    titles = {job.folder: f"probe {Path(job.folder).name}  {title(job)}" for job in jobs}
    if not interactive():
        for words in titles.values():
            print(f"{words}  {counted(steps, 'step')}", flush=True)
        yield
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:.0f}/{task.total:.0f} steps", markup=False),
    )
    with Progress(*columns, console=rich_console(sys.stdout)) as progress:

        def follower(words: str) -> Callable[[dict[str, Any]], None]:
            task = progress.add_task(words, total=steps)
            return lambda row: progress.update(task, completed=float(row.get("step") or 0))

        tails = [
            Tail(Path(folder) / METRICS_FILE, follower(words), skip_existing=False)
            for folder, words in titles.items()
        ]
        with followed(tails):
            yield


def title(job: Job) -> str:
    """A candidate by what is set for it."""
    return f"{job.plan.learning.method.finetuning_type} · {candidate_words(job.plan.hardware)}"


@contextmanager
def followed(tails: Sequence[Tail]) -> Iterator[None]:
    """Read these files beside the work: a worker of several jobs is waited for as one."""
    over = threading.Event()

    def follow() -> None:
        while not over.wait(LOOK_SECONDS):
            for tail in tails:
                tail.read()

    thread = threading.Thread(target=follow, daemon=True, name="probe-bars")
    thread.start()
    try:
        yield
    finally:
        over.set()
        # A Tail counts lines for one thread at a time, so the last look waits for the thread.
        thread.join()
        for tail in tails:
            tail.read()
