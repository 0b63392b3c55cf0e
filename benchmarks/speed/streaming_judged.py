"""What the runs of ``streaming.py`` say of each bar of streamed layers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tsplanner.planner.probe_selection.step_corrections import scaled
from tsplanner.throughput.own_factor import own_factor
from tsplanner.throughput.step_parts import StepTime

Row = Mapping[str, Any]
Rows = Mapping[str, Row]


def seconds(row: Row) -> float:
    """The fastest step of a run that ended well."""
    steps = row["measured"]["record"]["timing"]["step_seconds"]
    return min(steps) if steps else float("nan")


def ratio(rows: Rows, slow: str, fast: str) -> str:
    """How many times as long a step of one run takes as one of another."""
    if slow not in rows or fast not in rows:
        return f"{slow} against {fast}: not run"
    return f"{fast} at {seconds(rows[slow]) / seconds(rows[fast]):.3f}x the speed of {slow}"


def errors(rows: Sequence[Row], name: str) -> list[float]:
    """Foretold over measured bytes less one, of the runs that measured them."""
    found = []
    for row in rows:
        measured = row["measured"]["record"]["memory"].get(name)
        if measured:
            found.append(row["foretold"]["memory"][name]["expected"] / measured - 1)
    return found


def _speed(rows: Rows) -> list[str]:
    return [
        ratio(rows, "resident", "streamed-8") + " (bar 0.95)",
        ratio(rows, "resident-fp16", "streamed-fp16-8") + " (bar 0.95)",
        ratio(rows, "resident", "streamed-11-fewest") + " (bar 0.95)",
    ]


def _zero3(rows: Rows) -> list[str]:
    return [ratio(rows, "zero3-offload", "streamed-beside-zero3") + " (bar 4)"]


def _large(rows: Rows) -> list[str]:
    return [
        ratio(rows, "resident-32b", "streamed-32b-16") + " (bar 0.9 of arithmetic alone)",
        ratio(rows, "resident-72b-fp8", "streamed-72b-24-fp8") + " (bar 0.9)",
    ]


def _bytes(rows: Rows) -> list[str]:
    said = []
    for name, bar in (("peak_allocated_bytes", "0.5 and 3 %"), ("host_bytes", "3 %")):
        found = [abs(each) for each in errors(list(rows.values()), name)]
        if found:
            said.append(
                f"{name} of {len(found)} runs: median {statistics.median(found):.2%}, worst "
                f"{max(found):.2%} (bar {bar})"
            )
    inside = [
        row["foretold"]["memory"]["peak_reserved_bytes"]["upper"] >= reserved
        for row in rows.values()
        if (reserved := row["measured"]["record"]["memory"].get("peak_reserved_bytes"))
    ]
    said.append(f"bound covers {sum(inside)} of {len(inside)} (bar 97 %)")
    return said


def _link(rows: Rows) -> list[str]:
    free = next((row for name, row in rows.items() if name.endswith("-free")), None)
    if free is None or "time" not in free["foretold"]:
        return ["python benchmarks/accuracy/streamed_times.py judges the first runs"]
    factor = own_factor(forecast(free), seconds(free))
    said = [f"probe: work and issuing take {factor:.3f} of what was foretold without a limit"]
    for name, row in rows.items():
        if row is free:
            continue
        time, found = forecast(row), seconds(row)
        before, after = time.seconds, scaled(time, factor, factor).seconds
        said.append(
            f"{name} GB/s: {found:.2f} s, foretold {before:.2f} ({before / found - 1:+.1%}, bar "
            f"15 %), after the probe {after:.2f} ({after / found - 1:+.1%}, bar 5 %)"
        )
    return said


def forecast(row: Row) -> StepTime:
    """The seconds of a step that were foretold of a run, in their parts."""
    return msgspec.convert(row["foretold"]["time"], StepTime)


def _losses(rows: Rows) -> list[str]:
    both = [row["measured"]["losses"] for row in rows.values()]
    if len(both) < 2 or not all(both):
        return ["losses: not run"]
    apart = [abs(one / other - 1) for one, other in zip(*both, strict=True)]
    return [f"losses of {len(apart)} steps: at most {max(apart):.2e} apart"]


def _start(rows: Rows) -> list[str]:
    return [
        f"{name}: loaded in {row['measured']['record']['timing']['load_seconds']:.1f} s, "
        f"{row['measured'].get('read_seconds', float('nan')):.1f} s for reading the files (bar 1.5x)"
        for name, row in rows.items()
    ]


JUDGED: Mapping[str, Callable[[Rows], list[str]]] = {
    "speed": _speed,
    "zero3": _zero3,
    "large": _large,
    "bytes": _bytes,
    "link": _link,
    "link-7b": _link,
    "link-8b": _link,
    "inputs": _bytes,
    "losses": _losses,
    "start": _start,
}


def judged(rows: Sequence[Row]) -> list[str]:
    """A line or more for each bar that some of the rows are for."""
    said = []
    for bar, judge in JUDGED.items():
        own = {row["foretold"]["run"]: row for row in rows if row["foretold"]["bar"] == bar}
        if own:
            said += [f"{bar:8s}{line}" for line in judge(own)]
    return said
