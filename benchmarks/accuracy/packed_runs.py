"""Whole runs of packed rows against their forecasts: seconds before and after a probe, and bytes.

    python benchmarks/accuracy/packed_runs.py FILE.json ... [--each]

The files come from ``benchmarks/collect/whole_runs.py``. Forecasts are those that they hold, made
before the first run. "After a probe": the run is planned again with the probes of its file that are
of its kind, as ``plan`` does; a run without such a probe does not count there. A usual step is the
mean of a run's steps but the first, which waits for compilers. Of runs over the same
rows in several layouts, "speed lost" says by how much the layout that was foretold to be the
fastest was slower than the fastest.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from memory_models.units import GIB
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.finished import finish
from tsplanner.planner.gather.probe_points import ProbePoint
from tsplanner.planner.gather.refine import points_of, refined_for
from tsplanner.planner.plan import Plan
from tsplanner.planner.replan import request_again
from tsplanner.probe.calibration import probe_point
from tsplanner.training.record import Record, parse_record


@dataclass(frozen=True)
class Ran:
    """A run or a probe that ended well."""

    name: str
    plan: Plan
    record: Record
    probe: bool
    rows_of: str | None
    """What runs over the same rows have in common; None: no other run has these rows."""

    @property
    def seconds_error(self) -> float:
        """Foretold over measured seconds of the whole run, minus one."""
        return self.plan.time.total_seconds / self.record.timing.seconds - 1

    @property
    def step_error(self) -> float:
        """Foretold over measured seconds of a usual step, minus one."""
        usual = self.record.timing.step_seconds[1:]
        return self.plan.time.step_seconds * len(usual) / sum(usual) - 1

    @property
    def holds(self) -> bool:
        """Whether the run lies within its 95 % interval."""
        off = abs(self.record.timing.seconds - self.plan.time.total_seconds)
        return off <= self.plan.time.total_margin

    @property
    def bytes_error(self) -> float | None:
        """Foretold over measured peak of the allocator, minus one; None on a CPU."""
        measured = self.record.memory.peak_allocated_bytes
        return self.plan.memory.peak_allocated_bytes.expected / measured - 1 if measured else None

    @property
    def covered(self) -> bool:
        """Whether the process stayed below the 95 % bound."""
        return (self.record.memory.process_bytes or 0) <= self.plan.memory.process_bytes.upper


def read(path: Path) -> tuple[list[Ran], list[str]]:
    """Runs that ended well, and the names of the others."""
    found, failed = [], []
    for row in json.loads(path.read_text())["runs"]:
        name = row["run"]["name"]
        if row.get("measured", {}).get("status") != "ok":
            failed.append(name)
            continue
        found.append(
            Ran(
                name=name,
                plan=msgspec.convert(row["plan"], Plan),
                record=parse_record(json.dumps({**row["measured"], "versions": {}}).encode()),
                probe=row["run"].get("probe", False),
                rows_of=row["run"].get("rows_of"),
            )
        )
    return found, failed


def after_probe(run: Ran, points: Sequence[ProbePoint]) -> Ran | None:
    """The run as a plan foretells it that knows the probes; None: none is of its kind."""
    request = request_again(run.plan, run.plan.learning)
    request = replace(request, probes=points_of(request, points))
    if not refined_for(request, run.plan.hardware).kinds:
        return None
    return replace(run, plan=finish(request, evaluate(request, run.plan.hardware)))


def speed_lost(runs: Sequence[Ran]) -> dict[str, float]:
    """By rows: the run of the layout that was foretold to be the fastest, over the fastest run."""
    layouts: dict[str, list[Ran]] = {}
    for run in runs:
        if run.rows_of is not None:
            layouts.setdefault(run.rows_of, []).append(run)
    found = {}
    for name, several in layouts.items():
        chosen = min(several, key=lambda run: run.plan.time.total_seconds)
        fastest = min(run.record.timing.seconds for run in several)
        found[name] = chosen.record.timing.seconds / fastest - 1
    return found


def printed(title: str, errors: Sequence[float]) -> None:
    """A line with the median and the worst of errors, which are shares."""
    sizes = sorted(map(abs, errors))
    if sizes:
        print(f"{title:44s} {len(sizes):3d}  {statistics.median(sizes):6.2%}  {sizes[-1]:6.2%}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--each", action="store_true", help="print every run")
    options = parser.parse_args()
    ran: list[Ran] = []
    later: list[Ran] = []
    failed: list[str] = []
    for file in options.files:
        of_file, not_ended = read(file)
        points = [probe_point(each.plan, each.record) for each in of_file if each.probe]
        again = [after_probe(each, points) for each in of_file if not each.probe]
        ran, failed = ran + of_file, failed + not_ended
        later += [each for each in again if each is not None]
    runs = [each for each in ran if not each.probe]
    known = {each.name: each for each in later}
    if options.each:
        for each in ran:
            print(line(each, known.get(each.name)))
    print(f"{'':44s}   n  median   worst")
    printed("whole runs, seconds", [each.seconds_error for each in runs])
    printed("the same after a probe of their kind", [each.seconds_error for each in later])
    printed("those before it", [each.seconds_error for each in runs if each.name in known])
    printed("usual steps, seconds", [each.step_error for each in runs])
    printed("the same after a probe of their kind", [each.step_error for each in later])
    bytes_off = [off for each in ran if (off := each.bytes_error) is not None]
    printed("peak allocated, runs and probes", bytes_off)
    print(f"95 % intervals of seconds: {sum(each.holds for each in runs)} of {len(runs)} hold")
    print(f"95 % bounds of bytes: {sum(each.covered for each in ran)} of {len(ran)} hold")
    for name, lost in speed_lost(runs).items():
        print(f"speed lost by the layout that was foretold to be the fastest, {name}: {lost:.1%}")
    if failed:
        print(f"did not end well: {', '.join(failed)}")


def line(run: Ran, later: Ran | None) -> str:
    """One run in a line."""
    measured, off = run.record.memory.peak_allocated_bytes, run.bytes_error
    size = f"{measured / GIB:6.2f} GiB {off:+.2%}" if measured and off is not None else ""
    if run.probe:
        return f"{run.name:28s} probe{'':22s} {size}"
    after = "" if later is None else f"{later.seconds_error:+.1%}"
    seconds = f"{run.record.timing.seconds:6.1f} s {run.seconds_error:+7.1%} {after:>8s}"
    return f"{run.name:28s} {seconds:27s} {size}"


if __name__ == "__main__":
    main()
