"""``tsplanner probe``: a few real steps of the plan, prediction against measurement."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from memory_models.device import Machine
from memory_models.frozen import frozen
from tsplanner import install, runs
from tsplanner.commands.inputs.options import add_force_argument, add_plan_argument
from tsplanner.commands.inputs.values import LEAST_PROBE_STEPS, duration_seconds, probe_steps
from tsplanner.commands.views.bars import step_bar
from tsplanner.commands.views.interrupted import say_interrupted
from tsplanner.commands.views.plan_file import plan_line
from tsplanner.commands.views.probe import result_lines
from tsplanner.console import command
from tsplanner.errors import EXIT_FAILURE, EXIT_OK
from tsplanner.folders.owner import refuse_led
from tsplanner.hardware.detect import detect_machine
from tsplanner.planner.explain.sentences import describe
from tsplanner.planner.files import find_plan
from tsplanner.planner.gather.probe_points import store
from tsplanner.planner.plan import Plan
from tsplanner.probe.calibration import probe_point
from tsplanner.probe.host_link import measure_unknown
from tsplanner.probe.launch import cpu_threads
from tsplanner.probe.measured_plan import DIGEST, PROBE_FILE, plan_digest
from tsplanner.probe.preflight import require_room
from tsplanner.probe.runner import run_job
from tsplanner.processes.signals import signals_as_interrupts
from tsplanner.report.probe_table import probe_document
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Record
from tsplanner.trust import add_trust_argument

EPILOG = """examples:
  tsplanner probe
  tsplanner probe --plan saves/chatts-14b/plan.json --steps 10
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.epilog = EPILOG
    add_plan_argument(parser)
    parser.add_argument(
        "--steps", type=probe_steps, default=6, metavar="N", help="optimizer steps, 3 or more [6]"
    )
    parser.add_argument(
        "--time-limit",
        type=duration_seconds,
        default=600.0,
        metavar="T",
        help="longest time for all of it, such as 90s or 10m [10m]",
    )
    add_force_argument(parser)
    add_trust_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def from_arguments(namespace: argparse.Namespace) -> int:
    """Call `run` with what was parsed."""
    return run(
        asked(namespace), plan_path=namespace.plan, saves=namespace.saves, as_json=namespace.json
    )


@frozen
class Asked:
    """How long to probe, and against which warnings."""

    steps: int = 6
    time_limit_seconds: float = 600.0
    force: bool = False


def asked(namespace: argparse.Namespace) -> Asked:
    """What was typed of the probe itself."""
    return Asked(
        steps=namespace.steps, time_limit_seconds=namespace.time_limit, force=namespace.force
    )


@frozen
class Probed:
    """A probe that ended: the plan, what its worker measured, and both beside each other."""

    plan: Plan
    path: Path
    record: Record
    document: dict[str, object]

    @property
    def ran(self) -> bool:
        """Whether all steps ran, within memory and time."""
        return self.record.status is Status.OK


def run(
    wanted: Asked,
    *,
    plan_path: Path | None = None,
    saves: Path = runs.SAVES,
    as_json: bool = False,
    here: Machine | None = None,
) -> int:
    """Probe the plan; 0 if it ran, 1 if it ran out of memory, of time, or crashed.

    ``here`` stands in for this machine.
    """
    install.require("probe", install.TRAINING)
    plan, path = find_plan(plan_path, saves)
    if not as_json:
        print(plan_line(path), flush=True)
    try:
        with signals_as_interrupts():
            found = probed(plan, path, wanted, here, shown=not as_json)
    except KeyboardInterrupt as error:
        again = f"Probe again with  {command('probe', '--plan', path)}"
        return say_interrupted(error, again, as_json=as_json)
    if as_json:
        print(json.dumps(found.document, indent=2))
    else:
        print("\n".join(result_lines(plan, found.record, path)))
    return EXIT_OK if found.ran else EXIT_FAILURE


def probed(
    plan: Plan, path: Path, wanted: Asked, here: Machine | None = None, *, shown: bool = False
) -> Probed:
    """Run a few steps of a plan in a worker, and keep what was measured for later plans.

    Raises:
        TsplannerError: a package or memory is missing, or a run writes into the plan's folder.
    """
    install.require("probe", install.TRAINING)
    refuse_led(path.parent)
    require_room(plan, here, force=wanted.force)
    measure_unknown(plan, detect_machine if here is None else lambda: here)
    title = f"probe  {plan.learning.method.finetuning_type} · {describe(plan.hardware)}"
    with tempfile.TemporaryDirectory(prefix="tsplanner-probe-") as folder:
        job = Job(
            kind=JobKind.PROBE,
            plan=plan,
            folder=folder,
            probe_steps=max(LEAST_PROBE_STEPS, wanted.steps),
            threads=cpu_threads(plan),
        )
        with step_bar(title, job.probe_steps, shown=shown) as on_metrics:
            record = run_job(
                job, time_limit_seconds=wanted.time_limit_seconds, on_metrics=on_metrics
            )
    stored_in = str(store(probe_point(plan, record))) if record.status is Status.OK else None
    document = probe_document(plan, record, stored_in) | {DIGEST: plan_digest(path)}
    runs.write_json(path.parent / PROBE_FILE, document)
    return Probed(plan=plan, path=path, record=record, document=document)
