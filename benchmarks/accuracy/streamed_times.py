"""Seconds of steps with streamed layers: as they were foretold, as they are now, and measured.

    python benchmarks/accuracy/streamed_times.py

Reads the runs of ``benchmarks/speed/streaming.py`` on one H200
(streaming_{speed,large,link,losses,inputs}*_h200_2026-11-30.json); those of the bar ``bytes`` went on
several at a time, and their seconds say nothing. Measured: the fastest step of two or three, the
median of 50. "Then" is what the files hold, made before the runs. "Now" is fitted and not held out
where a row says "fitted": both constants of streamed steps (``HostSeconds``) come from these very
runs, and "left out" has them fitted again without the runs of that shape. Rows that say "held out"
were read for the first time after that. Those that are "seen" were foretold with these constants;
that the link rests beside the loss and the outer layers was added after they had run. "Probed" takes the run at the link's own rate as the probe
of the slowed ones.
Forecasts then slowed layer inputs down as well, which the runs did not. Resident runs are shown for
what the rest of the model misses by.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.speed.streaming_judged import Row, seconds
from benchmarks.speed.streaming_runs import RUNS, Run, as_slowed, foretold, request_of
from tsplanner.planner.probe_selection.step_corrections import scaled
from tsplanner.throughput.own_factor import own_factor
from tsplanner.throughput.rates import MEASURED, HostSeconds
from tsplanner.throughput.step_parts import StepTime

FOLDER = Path(__file__).parents[1] / "data" / "measurements"
FITTED = ("speed_1", "speed_2", "large", "link")
HELD_OUT = ("speed_3", "large_2", "losses")
SEEN = ("link_7b",)
LATER = ("link_8b",)
"""Foretold with all that was known, and run then; real sleeps slow the link down."""
INPUTS = ("inputs",)
"""Foretold and then run: some layer inputs on the device, others in host memory."""
TODAY = ("speed_4",)
"""Run by a Trainer that no longer visits all modules twice a pass, which the others did."""
KINDS = {
    "fitted": FITTED,
    "held out": HELD_OUT,
    "seen": SEEN,
    "later": LATER,
    "inputs": INPUTS,
    "today": TODAY,
}
VISITING = replace(MEASURED.host, recorded_layer_seconds=780e-6)
"""The constants of the other files, fitted on them."""
COPIED = replace(MEASURED.eight_bit, fp8=1.40)
"""The rate of fp8 products in all files: matrices were turned round by a copy, not by a kernel."""
FEW = 3
"""Steps of which the fastest one counts, since the first of them may still be slow."""
H200 = "1x-h200-141gib"
BESIDE = {
    "streamed-8": "resident",
    "streamed-11-fewest": "resident",
    "streamed-32b-16": "resident-32b",
}
"""Streamed runs and what ran resident beside them, for the same shape and precision."""


@dataclass(frozen=True)
class Timed:
    """A run, what was foretold of it then, and what is now."""

    run: Run
    file: str
    measured: float
    then: float
    layers: int
    """Layers of all passes of a step, where some of them are streamed."""
    parts: StepTime
    """The forecast without both constants."""

    def forecast(self, host: HostSeconds) -> StepTime:
        """The forecast with the constants of ``host``."""
        issued = self.parts.launch + self.layers * host.streamed_layer_seconds
        share = self.parts.link.issued_share * self.parts.launch / issued
        return replace(
            self.parts,
            launch=issued,
            recorded=self.layers * host.recorded_layer_seconds,
            link=replace(self.parts.link, issued_share=share),
        )

    @property
    def kind(self) -> str:
        """What has come of the run for the forecast."""
        return next(kind for kind, files in KINDS.items() if self.file in files)

    @property
    def host(self) -> HostSeconds:
        """The constants of the build that made the run."""
        return MEASURED.host if self.file in TODAY else VISITING

    def error(self, seconds: float) -> float:
        """Foretold over measured, minus one."""
        return seconds / self.measured - 1


def read() -> Iterator[Timed]:
    """The runs of the files."""
    none = replace(MEASURED.host, recorded_layer_seconds=0.0, streamed_layer_seconds=0.0)
    known: dict[str, tuple[int, StepTime]] = {}
    runs = {run.name: run for run in RUNS}
    for name in (each for files in KINDS.values() for each in files):
        document = json.loads((FOLDER / f"streaming_{name}_h200_2026-11-30.json").read_text())
        for row in document["runs"]:
            run = runs[row["foretold"]["run"]]
            if run.bar == "start":
                continue
            if run.name not in known:
                known[run.name] = _parts(run, none)
            then = row["foretold"]["step_seconds"]
            yield Timed(run, name, _measured(row), then, *known[run.name])


def _measured(row: Row) -> float:
    steps = row["measured"]["record"]["timing"]["step_seconds"][1:]
    return statistics.median(steps) if len(steps) > FEW else seconds(row)


def _parts(run: Run, host: HostSeconds) -> tuple[int, StepTime]:
    with tempfile.TemporaryDirectory() as folder:
        request = request_of(run, None, Path(folder), H200)
    efficiency = replace(request.efficiency, host=host, eight_bit=COPIED)
    request = replace(request, efficiency=efficiency)
    _, best = foretold(run, request)
    hardware = best.hardware
    layers = request.architecture.num_hidden_layers * hardware.batch.gradient_accumulation_steps
    return layers if hardware.streaming.streams else 0, as_slowed(run, request, best)


def fitted(rows: Sequence[Timed]) -> HostSeconds:
    """Both constants from these runs.

    What the GPU waits for at the start of a step: the median of what streamed steps take more than
    resident ones of the same file. Issuing: the mean of the steps that wait for the host and for no
    link, less that.
    """
    before = [
        (row.measured - beside.measured) / row.layers
        for row in rows
        for beside in rows
        if BESIDE.get(row.run.name) == beside.run.name and row.file == beside.file
    ]
    recorded = statistics.median(before) if before else 0.0
    waiting = [
        (row.measured - row.parts.seconds) / row.layers
        for row in rows
        if row.layers and row.parts.bound_by_launch and not row.parts.exposed
    ]
    issued = statistics.fmean(waiting) - recorded if waiting else 0.0
    return replace(
        MEASURED.host, recorded_layer_seconds=recorded, streamed_layer_seconds=max(0.0, issued)
    )


def probe_factors(rows: Sequence[Timed]) -> dict[str, float]:
    """By shape, what the step at the link's own rate makes of the forecast."""
    return {
        row.run.shape: own_factor(row.forecast(row.host), row.measured)
        for row in rows
        if row.run.name.endswith("-free")
    }


def after_probe(row: Timed, factor: float) -> StepTime:
    """The forecast after a probe without a slowed link, which says something of what it waits for."""
    now = row.forecast(row.host)
    work, launch = (1.0, factor) if now.bound_by_launch else (factor, 1.0)
    return scaled(now, work, launch)


def line(row: Timed, rows: Sequence[Timed], probes: Mapping[str, float]) -> str:
    """One run: seconds, and errors of each forecast."""
    now = row.forecast(row.host)
    errors: list[float | None] = [row.error(row.then), row.error(now.seconds), None, None]
    if row.layers and row.kind == "fitted":
        rest = [other for other in rows if other.run.shape != row.run.shape]
        errors[2] = row.error(row.forecast(fitted(rest)).seconds)
    if row.run.link:
        errors[3] = row.error(after_probe(row, probes[row.run.shape]).seconds)
    told = "".join(f"{'' if each is None else f'{each:+.1%}':>10s}" for each in errors)
    return f"{row.run.name:21s}{row.run.shape:>5s}{row.kind:>10s}{row.measured:9.2f}{told}"


def summary(name: str, errors: Sequence[float]) -> str:
    """Median and worst."""
    sizes = [abs(each) for each in errors]
    return f"{len(sizes)} {name}: median {statistics.median(sizes):.1%}, worst {max(sizes):.1%}"


def main() -> None:
    """Print the table, and the constants that the runs give."""
    rows = list(read())
    probes = probe_factors(rows)
    heads = "".join(f"{name:>10s}" for name in ("then", "now", "left out", "probed"))
    print(f"{'run':21s}{'shape':>5s}{'':10s}{'seconds':>9s}{heads}")
    known = [row for row in rows if row.kind == "fitted"]
    for row in rows:
        print(line(row, known, probes))
    for kind in KINDS:
        some = [row for row in rows if row.layers and row.kind == kind]
        name = f"streamed runs, {kind}"
        print(summary(f"{name}, then", [row.error(row.then) for row in some]))
        errors = [row.error(row.forecast(row.host).seconds) for row in some]
        print(summary(f"{name}, now", errors))
    today = fitted([row for row in rows if row.kind == "today"])
    for name, found, used in (
        (
            "streamed_layer_seconds",
            fitted(known).streamed_layer_seconds,
            VISITING.streamed_layer_seconds,
        ),
        (
            "recorded_layer_seconds, then",
            fitted(known).recorded_layer_seconds,
            VISITING.recorded_layer_seconds,
        ),
        (
            "recorded_layer_seconds",
            today.recorded_layer_seconds,
            MEASURED.host.recorded_layer_seconds,
        ),
    ):
        print(f"{name}: fitted {1e3 * found:.2f} ms, in use {1e3 * used:.2f}")


if __name__ == "__main__":
    main()
