"""``tsplanner export``: a plan as files for another launcher."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path

from memory_models.frozen import frozen
from memory_models.units import counted
from tsplanner import runs
from tsplanner.commands.inputs.options import add_plan_argument, add_random_weights_argument
from tsplanner.commands.inputs.values import duration_seconds, path, path_text, positive
from tsplanner.commands.views.plan import VERDICTS
from tsplanner.commands.views.plan_file import plan_line
from tsplanner.commands.views.screen import Screen
from tsplanner.errors import EXIT_OK, TsplannerError, UsageError, quoted
from tsplanner.exporters.launch import JOB_FILE, WORKER, ExportFile, ExportOptions, Room, spread
from tsplanner.exporters.padding import room_of
from tsplanner.exporters.registry import EXPORTERS, exporter, render
from tsplanner.exporters.rows.form import RowsAs, chosen, without_tokens
from tsplanner.exporters.rows.written import RowsWritten
from tsplanner.folders.owner import refuse_led
from tsplanner.planner.files import find_plan, folder_of_plan
from tsplanner.planner.plan import Plan
from tsplanner.probe.preflight import (
    refuse_random_weights,
    refuse_what_cannot_fit,
    refuse_what_changed,
)
from tsplanner.training.job import Job, JobKind

EPILOG = """examples:
  tsplanner export                       the exporters there are
  tsplanner export torchrun --plan saves/chatts-14b/plan.json
  tsplanner export sbatch --nodes 2 --output jobs/chatts
"""


@frozen
class Request:
    """What was typed, as plain values."""

    name: str
    plan_path: Path | None = None
    saves: Path = runs.SAVES
    output: Path | None = None
    """None: saves/<model>/export/<name>."""
    run_folder: Path | None = None
    """None: training writes beside the files."""
    rows: RowsAs | None = None
    """Form of the rows for another project's trainer; None: token ids where they can be made."""
    nodes: int | None = None
    """Machines like the plan's; None: as many as the plan has."""
    random_weights: bool = False
    """Write a job even for a model that has no weights, which trains from random ones."""
    options: ExportOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help=f"{', '.join(EXPORTERS)}; none: a list of them"
    )
    add_plan_argument(parser)
    parser.add_argument(
        "--output",
        type=path,
        metavar="FOLDER",
        help="where the files go [saves/<model>/export/<NAME>]",
    )
    parser.add_argument(
        "--nodes", type=positive, metavar="N", help="machines like the plan's [the plan's number]"
    )
    parser.add_argument(
        "--run-folder", type=path, metavar="FOLDER", help="where training writes [the output]"
    )
    parser.add_argument(
        "--time-limit",
        type=duration_seconds,
        metavar="T",
        help="time to ask a queue for, such as 8h or 2d [the forecast and half an hour]",
    )
    parser.add_argument(
        "--command", metavar="WORDS", help="what each process runs [tsplanner's own worker]"
    )
    add_random_weights_argument(parser)
    group = parser.add_argument_group("for another project's trainer")
    group.add_argument(
        "--weights",
        type=path_text,
        metavar="NAME",
        help="weights, a folder or hub id [the model's folder]",
    )
    group.add_argument(
        "--template", metavar="NAME", help="chat template, by its name there [by family]"
    )
    group.add_argument(
        "--rows",
        choices=[str(form) for form in RowsAs],
        metavar="FORM",
        help="rows as tokens, or as messages that the trainer renders [tokens]",
    )
    group.add_argument(
        "--force", action="store_true", help="even where it would not fit there, or files changed"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    if namespace.name is None:
        return list_exporters(as_json=namespace.json)
    return run(request_from(namespace), as_json=namespace.json)


def request_from(namespace: argparse.Namespace) -> Request:
    """What was typed, as plain values. Raises UsageError for a --command that is no words."""
    options = ExportOptions(
        time_limit_seconds=namespace.time_limit,
        command=_words(namespace.command),
        weights=namespace.weights,
        template=namespace.template,
        force=namespace.force,
    )
    return Request(
        name=namespace.name,
        plan_path=namespace.plan,
        saves=namespace.saves,
        output=namespace.output,
        run_folder=namespace.run_folder,
        rows=RowsAs(namespace.rows) if namespace.rows else None,
        nodes=namespace.nodes,
        random_weights=namespace.random_weights,
        options=options,
    )


def _words(command: str | None) -> tuple[str, ...]:
    """The words of --command, split as a shell would."""
    if command is None:
        return WORKER
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(
            f"--command {quoted(command)} cannot be split into words: {error}."
        ) from error
    if not words:
        raise UsageError("--command is empty: name a script, or leave it out.")
    return words


def list_exporters(*, as_json: bool) -> int:
    """Print the names and what each writes."""
    if as_json:
        print(json.dumps({name: found.summary for name, found in EXPORTERS.items()}))
        return EXIT_OK
    for name, found in EXPORTERS.items():
        print(f"{name:<14}{found.summary}")
    return EXIT_OK


@frozen
class Exported:
    """The files of an exporter, and how to start them."""

    plan_file: Path
    paths: tuple[Path, ...]
    start: str
    by_hand: str
    """What stands before ``start`` where it is typed on each of several machines."""
    nodes: int
    room: Room | None
    """Whether it fits under another project's trainer; None: our own worker runs it."""
    notes: tuple[str, ...]

    @property
    def document(self) -> dict[str, object]:
        """The same as plain values."""
        return {
            "files": [str(path) for path in self.paths],
            "start": self.by_hand + self.start,
            **({} if self.room is None else {"room": asdict(self.room)}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def run(request: Request, *, as_json: bool = False) -> int:
    """Write the files of one exporter and say how to start them."""
    done = exported(request)
    if as_json:
        print(json.dumps(done.document))
        return EXIT_OK
    screen = Screen()
    screen.line(plan_line(done.plan_file))
    for target in done.paths:
        screen.line(f"wrote  {target}")
    if done.room is not None:
        word, style = VERDICTS[done.room.verdict]
        screen.line(f"{word} under {done.room.trainer}: {done.room.figures}", style)
    for note in done.notes:
        screen.line(f"note   {note}")
    screen.line()
    where = f"   on each of {done.nodes} machines" if done.by_hand else ""
    screen.line(f"Next   {done.by_hand}{done.start}{where}", "bold")
    return EXIT_OK


def exported(request: Request) -> Exported:
    """Write the files of one exporter.

    Raises:
        UsageError: there is no such exporter, or the flags contradict each other.
        TsplannerError: the plan cannot run there, or the files cannot be written.
    """
    wanted = exporter(request.name)
    plan, file = find_plan(request.plan_path, request.saves)
    refuse_what_cannot_fit(plan)
    if not request.options.force:
        refuse_what_changed(plan)
    options = _for_trainer(request, plan) if wanted.trains else request.options
    options = replace(options, nodes=request.nodes or plan.hardware.sharding.nodes)
    try:
        files = render(request.name, plan, options)
    except ValueError as error:
        raise TsplannerError(f"The plan cannot run ({error}): plan again.") from error
    if request.options.command == WORKER and not wanted.trains:
        refuse_random_weights(plan, allowed=request.random_weights)
        files.append(job_file(plan, request, options))
    own = folder_of_plan(request.saves, plan)
    folder = request.output or own / "export" / request.name
    refuse_led(folder)
    notes, rows = wanted.notes(plan, options), tuple[Path, ...]()
    if wanted.rows is not None:
        written = wanted.rows(plan, folder, options.rows)
        rows, notes = written.paths, [*notes, *rows_notes(plan, written, options.rows)]
    return Exported(
        plan_file=file,
        paths=(*write(files, folder), *rows),
        start=wanted.start.format(folder=shlex.quote(str(folder))),
        by_hand=wanted.by_hand if options.nodes > 1 else "",
        nodes=options.nodes,
        room=room_of(wanted, plan, options.nodes),
        notes=tuple(notes),
    )


def _for_trainer(request: Request, plan: Plan) -> ExportOptions:
    """The options with what another project's trainer must be told.

    Raises:
        UsageError: a command was given, which that trainer would not run.
        TsplannerError: token ids were asked for, and they cannot be made.
    """
    options = request.options
    if options.command != WORKER:
        raise UsageError(
            f"--command is for launchers, and {request.name} runs its own trainer: leave it out."
        )
    folder, weights = request.run_folder, options.weights
    if weights is not None and Path(weights).is_dir():
        weights = str(Path(weights).resolve())  # the files may be started from elsewhere
    return replace(
        options,
        weights=weights,
        rows=chosen(plan, request.rows),
        output_dir=str(folder.resolve()) if folder is not None else options.output_dir,
    )


def rows_notes(plan: Plan, written: RowsWritten, rows_as: RowsAs) -> list[str]:
    """What was written of the dataset, and where that is not what the plan counted."""
    trained = written.rows - written.held_out
    found = [
        f"{counted(trained, 'row')} to train on and {written.held_out:,} held out, as {rows_as}: "
        "those of tsplanner train"
    ]
    if rows_as is RowsAs.MESSAGES and (reason := without_tokens(plan)) is not None:
        found.append(f"no token ids, since {reason}: the trainer renders and masks the rows itself")
    if written.rows != plan.dataset.lengths.rows_kept:
        counts = counted(plan.dataset.lengths.rows_kept, "row")
        found.append(f"the plan counted {counts}, so its steps differ: plan again")
    return found


def job_file(plan: Plan, request: Request, options: ExportOptions) -> ExportFile:
    """job.json for tsplanner's own worker.

    Without --run-folder it names the folder it is started in, so that the files may be moved.

    Raises:
        TsplannerError: the plan names no dataset to train on.
    """
    import msgspec

    if plan.dataset.path is None:
        raise TsplannerError(
            "The plan names no dataset, so there is nothing to train on: plan again with "
            "--dataset FILE, or give --command for a trainer of your own."
        )
    folder = "." if request.run_folder is None else str(request.run_folder.resolve())
    job = Job(
        kind=JobKind.TRAIN,
        plan=spread(plan, options.nodes),
        folder=folder,
        threads=plan.hardware.cpu_threads,
    )
    text = msgspec.json.format(msgspec.json.encode(job)).decode()
    return ExportFile(JOB_FILE, text + "\n")


def write(files: list[ExportFile], folder: Path) -> list[Path]:
    """Write every file whole or not at all; returns their paths."""
    with runs.clear_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        runs.write_text(folder / file.name, file.text)
    return [folder / file.name for file in files]
