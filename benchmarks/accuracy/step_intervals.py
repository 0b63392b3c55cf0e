"""Whether the 95 % interval of a plan's seconds holds, on every timed run that is committed.

    python benchmarks/accuracy/step_intervals.py            coverage, model families left out in turn
    python benchmarks/accuracy/step_intervals.py --worst 10 and the runs that lie farthest outside
    python benchmarks/accuracy/step_intervals.py --fit      half-widths to put into StepErrors

Steps: benchmarks/data/measurements/ (steps, memory runs that were timed alone, regret grids, two
processes). Whole runs: whole_runs*.json and chatts_full_run*.json. Records of other people:
configs/experiments/, whose trainer, rows and cards are not ours. A half-width is the share of the
predicted seconds that 95 % of the runs of its kind stay within. "Left out": the half-widths are
fitted on all other model families, and then held against this one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from benchmarks.accuracy.step_times import (
    CALIBRATION,
    FOLDER,
    JUDGED,
    MACHINE,
    RANKS,
    RANKS_HELD_OUT,
    TWO,
    Timed,
    timed,
)
from tsplanner.errors import NoPlanFits
from tsplanner.planner.evaluate import usual_step
from tsplanner.planner.experiments.recorded import Experiment, read_experiment
from tsplanner.planner.experiments.replayed import experiment_subject
from tsplanner.planner.finished import evaluated_pass
from tsplanner.planner.forecast import Forecast, forecast
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import Choice, choose
from tsplanner.planner.replan import request_again
from tsplanner.planner.settings import training_settings
from tsplanner.throughput.errors import HALF_WIDTHS, WaitsFor, waits_for
from tsplanner.throughput.forward_time import forward_time
from tsplanner.throughput.rates import MEASURED, rates_of

EXPERIMENTS = Path(__file__).resolve().parents[2] / "configs" / "experiments"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Seen:
    """A run with its predicted and measured seconds."""

    source: str
    name: str
    family: str
    kind: WaitsFor
    predicted: float
    measured: float
    rest: float = 0.0
    """Share of evaluations and of what is paid once in the predicted seconds."""
    rest_kind: WaitsFor = WaitsFor.HOST

    @property
    def half_width(self) -> float:
        """The half-width that ships."""
        return self.width(HALF_WIDTHS)

    def width(self, by_kind: Mapping[WaitsFor, float]) -> float:
        """The half-width by a table of half-widths."""
        own = by_kind.get(self.kind, HALF_WIDTHS[self.kind])
        rest = max(own, by_kind.get(self.rest_kind, HALF_WIDTHS[self.rest_kind]))
        return (1 - self.rest) * own + self.rest * rest

    @property
    def off(self) -> float:
        """Distance of the measured from the predicted seconds, as a share of the latter."""
        return abs(self.measured / self.predicted - 1)


def of_step(source: str, case: Timed) -> Seen:
    """A timed step of the measuring programs."""
    machine = MACHINE if case.settings.sharding.world_size == 1 else TWO
    step = case.predicted(MEASURED)
    kind = waits_for(step, case.settings, rates_of(machine))
    return Seen(
        source=source,
        name=json.dumps(case.given),
        family=case.architecture.model_type,
        kind=kind,
        predicted=step.seconds,
        measured=case.seconds,
    )


def whole_runs(paths: Iterable[Path]) -> list[Seen]:
    """Whole runs over unequal rows, predicted by the model as it is now."""
    found = []
    for path in paths:
        for row in json.loads(path.read_text())["runs"]:
            if row.get("measured", {}).get("status") != "ok":
                continue
            plan = msgspec.convert(row["plan"], Plan)
            run, kind, forward = forecast_now(plan)
            found.append(
                Seen(
                    source=path.stem,
                    name=row["run"]["name"],
                    family=plan.model.model_type,
                    kind=kind,
                    predicted=run.total_seconds,
                    rest=1 - run.training_seconds / run.total_seconds,
                    rest_kind=forward,
                    measured=row["measured"]["timing"]["seconds"],
                )
            )
    return found


def forecast_now(plan: Plan) -> tuple[Forecast, WaitsFor, WaitsFor]:
    """A plan's whole run by the model as it is now; what its step and its evaluation wait for."""
    hardware, rates = plan.hardware, rates_of(plan.machine)
    request = replace(request_again(plan, plan.learning), efficiency=MEASURED)
    settings = training_settings(plan.learning, hardware, plan.sequence_length)
    step = usual_step(request, hardware, settings)
    evaluated, passes = evaluated_pass(request, hardware)
    forward = forward_time(plan.architecture, evaluated, rates)
    seconds = forward.seconds * passes
    run = forecast(plan.dataset, plan.learning, hardware, step, seconds, rates.host)
    return run, waits_for(step, settings, rates), waits_for(forward, evaluated, rates)


def records() -> list[Seen]:
    """Recorded runs of other people, planned with their settings."""
    found = []
    for path in sorted(EXPERIMENTS.glob("*.yaml")):
        experiment = read_experiment(path.stem)
        choice = fitting_choice(experiment)
        plan = choice.plan
        settings = training_settings(plan.learning, plan.hardware, 1)
        kind = waits_for(choice.best.time, settings, rates_of(plan.machine))
        found.append(
            Seen(
                source="records of other people",
                name=path.stem,
                family=plan.model.name,
                kind=kind,
                predicted=plan.time.step_seconds,
                measured=experiment.recorded.seconds_per_step,
            )
        )
    return found


def fitting_choice(experiment: Experiment) -> Choice:
    """The plan of a record on the first of its machines that it fits."""
    for machine in experiment.machines:
        with contextlib.suppress(NoPlanFits):
            subject = experiment_subject(experiment, Subject(machine=machine))
            return choose(plan_request(subject, Path("saves")))
    raise SystemExit(f"{experiment.name} fits none of its machines.")


def everything() -> list[Seen]:
    """All runs that are committed."""
    sources: list[tuple[str, Sequence[str]]] = [
        ("steps, calibration", CALIBRATION),
        ("steps, other models", (JUDGED,)),
        ("steps, two processes", (RANKS, RANKS_HELD_OUT)),
    ]
    steps = [of_step(name, case) for name, patterns in sources for case in timed(patterns)]
    return [*steps, *whole_runs(sorted(FOLDER.glob("whole_runs*.json"))), *records()]


def quantile(values: Sequence[float]) -> float:
    """The conformal 95 % quantile: the ceil(0.95 (n + 1))-th smallest value, or the largest."""
    ordered = sorted(values)
    place = math.ceil(CONFIDENCE * (len(ordered) + 1))
    return ordered[min(place, len(ordered)) - 1]


def fitted(seen: Sequence[Seen]) -> dict[WaitsFor, float]:
    """Half-widths by kind."""
    steps = [run for run in seen if not run.rest]
    kinds = sorted({run.kind for run in steps})
    return {kind: quantile([run.off for run in steps if run.kind == kind]) for kind in kinds}


def left_out(seen: Sequence[Seen]) -> dict[int, bool]:
    """Whether each run lies within the half-width that the other families give."""
    held = {}
    for family in {run.family for run in seen}:
        widths = fitted([run for run in seen if run.family != family])
        for number, run in enumerate(seen):
            if run.family == family:
                held[number] = run.off <= run.width(widths)
    return held


def line(name: str, seen: Sequence[Seen], within: int, out: int) -> str:
    """Number of runs, median error, and how many lie within."""
    offs = sorted(abs(run.predicted / run.measured - 1) for run in seen)
    middle = 100 * offs[len(offs) // 2]
    number = len(seen)
    return (
        f"{name:36s}{number:5d} runs, median {middle:5.1f} %, within the interval "
        f"{within:4d} ({100 * within / number:5.1f} %), families left out {out:4d} "
        f"({100 * out / number:5.1f} %)"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--worst", type=int, default=0)
    options = parser.parse_args()
    seen = everything()
    if options.fit:
        for kind, width in fitted(seen).items():
            runs = [run for run in seen if run.kind == kind]
            print(f"{kind:12s}{len(runs):5d} runs: half-width {width:.3f}")
        return
    out = left_out(seen)
    for key in ("source", "kind", ""):
        for value in sorted({getattr(run, key) for run in seen}) if key else ["all"]:
            here = [n for n, run in enumerate(seen) if not key or getattr(run, key) == value]
            runs = [seen[n] for n in here]
            within = sum(run.off <= run.half_width for run in runs)
            print(line(value, runs, within, sum(out[n] for n in here)))
        print()
    worst = sorted(seen, key=lambda run: run.half_width - run.off)
    for run in worst[: options.worst]:
        print(f"{run.predicted:8.2f} {run.measured:8.2f} s ± {run.half_width:.2f}  {run.name}")


if __name__ == "__main__":
    main()
