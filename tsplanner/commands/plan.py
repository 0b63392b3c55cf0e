"""``tsplanner plan``: the fastest settings that fit, and why."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memory_models.frozen import frozen
from tsplanner import install
from tsplanner.commands.inputs.hardware_flags import add_pins, pins
from tsplanner.commands.inputs.learning_flags import (
    add_learning,
    learning_values,
    refuse_idle_flags,
)
from tsplanner.commands.inputs.options import add_saves_argument, add_subject, data_source
from tsplanner.commands.inputs.values import duration_seconds, path, path_text, positive_float
from tsplanner.commands.views.plan import print_choice, print_failure
from tsplanner.commands.views.plan_json import failure_values, plan_document
from tsplanner.commands.views.scan_bar import scan_bar
from tsplanner.errors import EXIT_NO_PLAN, EXIT_OK, TsplannerError, UsageError
from tsplanner.hardware.nodes import Nodes
from tsplanner.planner.advice import Suggestion, advice
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.files import folder_of_plan, write_plan
from tsplanner.planner.forecast import Cost, run_cost
from tsplanner.planner.gather.requests import Liberty, Subject, Surroundings, plan_request
from tsplanner.planner.plan import Plan, TimeEstimate, Verdict
from tsplanner.planner.rank import Choice, NothingFits, choose
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import LearningSettings
from tsplanner.runs import slug
from tsplanner.trust import add_trust_argument

if TYPE_CHECKING:  # only a recorded run needs it
    from tsplanner.planner.experiments.replayed import ExperimentRecord

EPILOG = """examples:
  tsplanner plan
  tsplanner plan --model chatts-14b --dataset train.jsonl --gpus '2x RTX 2080 Ti 22GiB'
  tsplanner plan --experiment chatts-14b_rtx-2080-ti_qlora-r8    a recorded run, checked
  tsplanner plan --probe --probe-budget 2m      run the best few before choosing
  tsplanner plan --model qwen2.5-7b --dataset train.jsonl --rent --deadline 8h

words of other trainers (--num_train_epochs 2, --lora_r 16, --bf16, ...) are taken as well; the
table is in docs/settings.md
"""

PROBE_BUDGET_SECONDS = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    add_subject(parser)
    add_learning(parser)
    add_pins(parser)
    add_probe_arguments(parser)
    add_trust_argument(parser)
    parser.add_argument(
        "--experiment",
        nargs="?",
        const="",
        metavar="NAME",
        help="plan a recorded run; without a name: list them [none]",
    )
    parser.add_argument(
        "--output",
        type=path,
        metavar="FILE",
        help="where the plan is written [saves/<model>/plan.json]",
    )
    add_saves_argument(parser)
    parser.add_argument(
        "--price-per-hour",
        type=positive_float,
        metavar="X",
        help="price of one GPU, in any currency: print what the run costs [none]",
    )
    add_rent_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document, no words")


def add_rent_arguments(parser: argparse.ArgumentParser) -> None:
    """--rent and its deadline."""
    group = parser.add_argument_group("what to rent")
    group.add_argument(
        "--rent",
        nargs="?",
        const="",
        type=path_text,
        metavar="FILE",
        help="rank rented machines by the cost of the run, by prices of FILE [the snapshot here]",
    )
    group.add_argument(
        "--deadline",
        type=duration_seconds,
        metavar="T",
        help="the run must be over by then, such as 8h or 2d [none]",
    )


def add_probe_arguments(parser: argparse.ArgumentParser) -> None:
    """--probe and its budget."""
    group = parser.add_argument_group("probes")
    group.add_argument(
        "--probe", action="store_true", help="run the best few plans for some steps, then choose"
    )
    group.add_argument(
        "--no-corrections",
        action="store_true",
        help="leave out what earlier probes on this machine taught (tsplanner state lists it)",
    )
    group.add_argument(
        "--probe-budget",
        type=duration_seconds,
        metavar="T",
        help="time for the probes, such as 90s or 10m [5m]",
    )


def probe_budget(options: argparse.Namespace) -> float | None:
    """Seconds to probe for; None: not at all. A budget alone asks for probes, too."""
    if options.probe_budget is not None:
        return float(options.probe_budget)
    return PROBE_BUDGET_SECONDS if options.probe else None


def subject_from(options: argparse.Namespace) -> Subject:
    """What was typed, as plain values."""
    file = None
    if options.deepspeed is not None:
        from tsplanner.planner.gather.deepspeed_file import read_deepspeed

        file = read_deepspeed(options.deepspeed)
    return Subject(
        model=options.model,
        dataset=data_source(options),
        tokenizer=options.tokenizer,
        on_bad_rows=options.on_bad_rows,
        gpus=options.gpus,
        machine=options.machine,
        around=Surroundings(
            host_memory_bytes=options.host_memory,
            nodes=Nodes(count=options.nodes or 1, gbit_per_second=options.node_link),
        ),
        cpu=options.cpu,
        liberty=Liberty(
            corrections=not options.no_corrections,
            allow_rounding=options.allow_rounding,
        ),
        learning=learning_values(options, file),
        pins=pins(options, file),
    )


@frozen
class Planned:
    """A plan that was just chosen, with what it was chosen from."""

    request: PlanRequest
    choice: Choice
    cost: Cost | None

    def document(self, path: Path | None = None, probes: Sequence[object] = ()) -> dict[str, Any]:
        """The document of ``--json``; ``path``: where plan.json was written."""
        advised = advice_for(self.request, self.choice.plan)
        return plan_document(self.choice, path, self.cost, advised, probes=probes)


def planned(options: argparse.Namespace) -> Planned:
    """The plan for what was typed; nothing is printed or stored.

    Raises:
        NothingFits: nothing does.
        UsageError, TsplannerError: the model, the dataset or the machine cannot be read.
    """
    refuse_idle_flags(options)
    request = plan_request(subject_from(options), Path(options.saves))
    choice, price = choose(request), options.price_per_hour
    cost = None if price is None else run_cost(choice.plan, price)
    return Planned(request=request, choice=choice, cost=cost)


def from_arguments(options: argparse.Namespace) -> int:
    """Run the verb from parsed flags."""
    refuse_idle_flags(options)
    output = Path(options.output) if options.output else None
    if options.experiment == "":
        return list_experiments(as_json=options.json)
    if options.rent is not None or options.deadline is not None:
        from tsplanner.commands.parts.rent import (
            rent_from,  # plans on many machines: only where asked
        )

        return rent_from(options, subject_from(options))
    return run(
        subject_from(options),
        saves=Path(options.saves),
        output=output,
        price_per_hour=options.price_per_hour,
        probe_seconds=probe_budget(options),
        experiment=options.experiment,
        as_json=options.json,
    )


def list_experiments(*, as_json: bool) -> int:
    """Print the names of the recorded runs, for people with their figures."""
    from tsplanner.commands.views.experiment import experiment_list
    from tsplanner.planner.experiments.recorded import experiment_names

    names = experiment_names()
    print(json.dumps({"experiments": names}) if as_json else "\n".join(experiment_list()))
    return EXIT_OK


def _print_record(record: ExperimentRecord | None, time: TimeEstimate | None = None) -> None:
    if record is not None:
        from tsplanner.commands.views.experiment import print_record

        print_record(record, time)


def run(
    subject: Subject,
    *,
    saves: Path,
    output: Path | None = None,
    price_per_hour: float | None = None,
    probe_seconds: float | None = None,
    experiment: str | None = None,
    as_json: bool = False,
) -> int:
    """Plan, probe if asked to, write plan.json, print; 4 if nothing fits.

    Raises:
        UsageError: probes are wanted for a machine that is only described.
    """
    if probe_seconds is not None:
        install.require("plan --probe", install.TRAINING)
    record = None
    if experiment is not None:
        from tsplanner.planner.experiments.replayed import ExperimentRecord

        record = ExperimentRecord.of(experiment, subject, saves)
        subject = record.subject
        output = output or saves / slug(experiment) / "plan.json"
    with scan_bar(shown=not as_json) as progress:
        request = plan_request(subject, saves, progress)
    _refuse_run_at_work(output)
    if probe_seconds is not None and not request.machine.detected:
        raise UsageError(
            f"Probes run on the machine itself, and {request.machine.name} is only described: "
            "leave out --gpus and --machine, or plan with --probe on that machine."
        )
    try:
        choice = choose(request)
    except NothingFits as error:
        if as_json:
            print(json.dumps(failure_document(error, record)))
        else:
            print_failure(request, error.failure)
            _print_record(record)
        return EXIT_NO_PLAN
    tested: list[dict[str, Any]] = []
    lines: list[str] = []
    if probe_seconds is not None:
        choice, tested, lines = _probed(request, choice, probe_seconds, shown=not as_json)
    path = stored(choice.plan, saves, output)
    cost = None if price_per_hour is None else run_cost(choice.plan, price_per_hour)
    if as_json:
        more = {} if record is None else {"experiment": record.document(choice.plan.time)}
        made = Planned(request=request, choice=choice, cost=cost)
        print(json.dumps(made.document(path, tested) | more))
    else:
        advised = advice_for(request, choice.plan)
        print_choice(request, choice, path, cost, probes=lines, advised=advised)
        _print_record(record, choice.plan.time)
    return EXIT_OK


def _refuse_run_at_work(output: Path | None) -> None:
    """Raise TsplannerError if the plan is to be written into a folder that a run writes into."""
    if output is not None and output.parent.is_dir():
        from tsplanner.folders.owner import refuse_led  # a plan without --output needs none of it

        refuse_led(output.parent)


def _probed(
    request: PlanRequest, choice: Choice, seconds: float, *, shown: bool
) -> tuple[Choice, list[dict[str, Any]], list[str]]:
    """The choice after probes, and the probes as plain values and as lines."""
    from tsplanner.commands.views.bars import step_bars
    from tsplanner.commands.views.probe import proof_lines, proof_rows
    from tsplanner.probe.proof import proven  # starts processes: not for a bare plan
    from tsplanner.processes.signals import signals_as_interrupts

    with signals_as_interrupts():
        proof = proven(request, choice, seconds, lambda jobs: step_bars(jobs, shown=shown))
    return proof.choice, proof_rows(proof), proof_lines(proof)


def stored(plan: Plan, saves: Path, output: Path | None) -> Path | None:
    """Where plan.json was written; None, with a warning, if the usual place cannot be written.

    Raises TsplannerError for a place that was asked for: a script goes on with that file.
    """
    try:
        return write_plan(plan, output or folder_of_plan(saves, plan) / "plan.json")
    except TsplannerError as error:
        if output is not None:
            raise
        print(f"tsplanner: the plan was not stored: {error}", file=sys.stderr)
        return None


def advice_for(request: PlanRequest, plan: Plan) -> tuple[Suggestion, ...]:
    """What evidence suggests for this model and dataset; a rank is one that fits as planned."""

    def fits(learning: LearningSettings) -> bool:
        try:
            found = evaluate(replace(request, learning=learning), plan.hardware)
        except ValueError:  # a rank above the smallest side of the matrices
            return False
        return found.verdict is not Verdict.DOES_NOT_FIT

    total = request.model.parameters_total
    return advice(request.learning, request.dataset, total, plan.time.total_steps, fits)


def failure_document(error: NothingFits, record: ExperimentRecord | None = None) -> dict[str, Any]:
    """The document of ``--json``: the smallest plan, what would help, and the exit status."""
    return {
        "error": str(error),
        "exit_status": EXIT_NO_PLAN,
        **failure_values(error.failure),
        **({} if record is None else {"experiment": record.document()}),
    }
