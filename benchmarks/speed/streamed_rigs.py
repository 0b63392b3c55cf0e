"""The recorded ChatTS runs with a streamed base: what their rigs, and smaller ones, would take.

    python benchmarks/speed/streamed_rigs.py [--model chatts-14b]

For every run in configs/experiments its own rows and learning settings are planned in fp16, nothing
rounded, on its own rig and on the rigs of ``SMALLER``, with streamed layers beside ZeRO-3 with
offload, and the seconds that were recorded stand beside both. All of it is a forecast: the cards'
speeds and links come from datasheets, and no streamed step was run on any of them.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memory_models.settings import Dtype
from memory_models.units import GIB
from tsplanner.errors import TsplannerError
from tsplanner.planner.experiments.recorded import Experiment, experiment_names, read_experiment
from tsplanner.planner.experiments.replayed import experiment_subject
from tsplanner.planner.gather.requests import Liberty, Subject, Surroundings, plan_request
from tsplanner.planner.rank import Choice, choose
from tsplanner.planner.replan import needs_of_processes
from tsplanner.planner.request import Pins

SMALLER = {
    "2x-rtx-2080-ti-22gib": (
        "RTX 2080 Ti 22GiB, RTX 2080 Ti 11GiB",
        "2x-rtx-2080-ti-11gib",
        "RTX 2080 Ti 22GiB",
        "RTX 2080 Ti 11GiB",
    ),
    "2x-quadro-rtx-6000-24gib": ("1x-quadro-rtx-6000-24gib",),
}
"""Rigs beside the recorded one, by its name: machine files, or cards with 64 GiB of RAM."""
CARDS_RAM = 64 * GIB
STREAMED = {"zero_stage": 0, "quantization": None, "model_dtype": Dtype.FP16}
OFFLOADED = {
    "zero_stage": 3,
    "offload_param": True,
    "quantization": None,
    "model_dtype": Dtype.FP16,
}


@dataclass(frozen=True)
class Forecast:
    """What one way to train would take on a rig."""

    found: Choice | None
    why_not: str = ""

    @property
    def seconds(self) -> str:
        """Seconds per step and half of their interval."""
        if self.found is None:
            return self.why_not
        time = self.found.plan.time
        return f"{time.step_seconds:.0f} s ± {time.step_seconds * time.relative_error:.0f}"


def forecast(experiment: Experiment, rig: str, pins: dict[str, Any]) -> Forecast:
    """The best plan of a run's rows and learning settings on a rig with these pins."""
    where: dict[str, Any] = {"machine": rig}
    if " " in rig:
        where = {"gpus": rig, "around": Surroundings(host_memory_bytes=CARDS_RAM)}
    given = Subject(**where, liberty=Liberty(corrections=False))
    subject = replace(experiment_subject(experiment, given), pins=Pins(**pins))
    with tempfile.TemporaryDirectory() as folder:
        request = plan_request(subject, Path(folder))
    try:
        return Forecast(choose(request))
    except TsplannerError as error:
        return Forecast(None, str(error).splitlines()[0])


def row(experiment: Experiment, rig: str) -> list[str]:
    """One line of the table."""
    streamed = forecast(experiment, rig, STREAMED)
    offloaded = forecast(experiment, rig, {**OFFLOADED, "streamed_layers": 0})
    method = experiment.settings
    run = (
        f"LoRA r={method.method.lora_rank}, {method.optimization.effective_batch_size} rows a step"
    )
    if streamed.found is None:
        return [rig, run, streamed.why_not, "", "", offloaded.seconds, ""]
    plan, best = streamed.found.plan, streamed.found.best
    layers = plan.hardware.streaming.shown
    total = plan.architecture.num_hidden_layers
    needs = [each.memory.process_bytes for each in needs_of_processes(plan)]
    cards = " and ".join(
        f"{each.expected / GIB:.1f} GiB (95 %: {each.upper / GIB:.1f})" for each in needs
    )
    link = 2 * (best.time.link.groups * best.time.link.weights + best.time.link.inputs)
    recorded = f"{experiment.recorded.seconds_per_step:.1f} s"
    held = "whole on the card" if not layers else f"{layers} of {total} layers streamed"
    return [
        rig,
        run,
        f"{plan.verdict}: {held}, {cards}, host {plan.memory.host_bytes.expected / GIB:.0f} GiB",
        streamed.seconds,
        f"{link:.1f} s, {best.time.exposed:.1f} waited for",
        offloaded.seconds,
        recorded if rig == experiment.machines[0] else "",
    ]


HEADING = (
    "rig",
    "run",
    "streamed, fp16",
    "forecast",
    "on the link",
    "ZeRO-3 with offload",
    "recorded",
)


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="chatts-14b", help="runs of this model alone")
    options = parser.parse_args()
    print(f"| {' | '.join(HEADING)} |")
    print("|---" * len(HEADING) + "|")
    for name in experiment_names():
        experiment = read_experiment(name)
        if experiment.model != options.model:
            continue
        own = experiment.machines[0]
        for rig in (own, *SMALLER.get(own, ())):
            print(f"| {' | '.join(row(experiment, rig))} |", flush=True)


if __name__ == "__main__":
    main()
