"""Accuracy of the memory estimate against committed measurements, families left out in turn.

    python benchmarks/accuracy.py [FILES]            the table
    python benchmarks/accuracy.py --worst 20         also the cases that miss most
    python benchmarks/accuracy.py --fit              margins to put into Calibration

For each model family the margins are fitted on all other families and judged on this one.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from memory_models.allocator import recipe_class
from memory_models.calibration import DEFAULT, Calibration, Margin
from memory_models.estimate import estimate_memory
from memory_models.records import MemoryEstimate
from memory_models.units import GIB
from tsplanner.commands.cases import Case, read_case

FOLDER = Path(__file__).parent / "measurements"
FEWEST = 8
"""A recipe class with fewer cases falls back to the default margin."""
RAW = replace(
    DEFAULT,
    allocated=MappingProxyType({"default": Margin(expected=0.0, upper=0.0)}),
    reserved=MappingProxyType({"default": Margin(expected=1.0, upper=1.0)}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A measured case, and the plain formula's estimate of it."""

    given: dict[str, object]
    case: Case
    family: str
    recipe: str
    allocated: int
    reserved: int
    process: int
    formula: int
    dynamic: int
    """The part of ``formula`` that is not persistent."""


def rows(paths: list[Path]) -> list[Row]:
    """Every case that ran."""
    found, models = [], {}
    for path in paths:
        for entry in json.loads(path.read_text())["cases"]:
            measured = entry.get("measured")
            if not measured or measured["status"] != "ok":
                continue
            case = read_case(entry["case"], models)
            raw = estimate_memory(case.architecture, case.settings, None, RAW)
            found.append(
                Row(
                    given=entry["case"],
                    case=case,
                    family=case.architecture.model_type,
                    recipe=recipe_class(case.settings),
                    allocated=measured["peak_allocated_bytes"],
                    reserved=measured["peak_reserved_bytes"],
                    process=measured["process_bytes"],
                    formula=raw.peak_allocated_bytes.expected,
                    dynamic=dynamic_bytes(raw),
                )
            )
    return found


def dynamic_bytes(raw: MemoryEstimate) -> int:
    """Under ``RAW`` reserved bytes are the peak plus its dynamic part."""
    return raw.peak_reserved_bytes.expected - raw.peak_allocated_bytes.expected


def quantile(values: list[float], share: float) -> float:
    """The conformal quantile: of n values the ceil((n + 1) share)-th smallest, at most the last."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, -(-int((len(ordered) + 1) * share * 1000) // 1000) - 1)]


def margins(found: list[Row], quantity: str) -> dict[str, Margin]:
    """Median and upper share of bytes beyond the formula, by recipe class."""
    groups: dict[str, list[float]] = defaultdict(list)
    for row in found:
        share = (getattr(row, quantity) - row.formula) / row.dynamic
        groups["default"].append(share)
        groups[row.recipe].append(share)
    return {
        name: Margin(expected=statistics.median(shares), upper=quantile(shares, 0.97))
        for name, shares in groups.items()
        if name == "default" or len(shares) >= FEWEST
    }


def fitted(found: list[Row]) -> Calibration:
    """A calibration from these rows: allocated by the formula alone, bounds from residuals."""
    allocated = {
        name: Margin(expected=0.0, upper=max(0.0, margin.upper))
        for name, margin in margins(found, "allocated").items()
    }
    return replace(
        DEFAULT,
        allocated=MappingProxyType(allocated),
        reserved=MappingProxyType(margins(found, "reserved")),
    )


def left_out(found: list[Row]) -> list[tuple[Row, MemoryEstimate]]:
    """Each row with the estimate of a calibration that never saw its family."""
    pairs = []
    for family in sorted({row.family for row in found}):
        others = fitted([row for row in found if row.family != family] or found)
        pairs += [
            (row, estimate_memory(row.case.architecture, row.case.settings, None, others))
            for row in found
            if row.family == family
        ]
    return pairs


def spread(errors: list[float]) -> str:
    """Mean, median, 95th percentile and worst absolute error, in percent."""
    absolute = sorted(abs(error) for error in errors)
    median = absolute[len(absolute) // 2]
    return (
        f"mean {100 * statistics.mean(absolute):5.2f} %  median {100 * median:5.2f} %  "
        f"95th {100 * quantile(absolute, 0.95):5.2f} %  worst {100 * absolute[-1]:5.2f} %"
    )


def report(pairs: list[tuple[Row, MemoryEstimate]], title: str) -> None:
    """The table of one set of estimates."""
    print(f"{title}: {len(pairs)} cases, {len({row.family for row, _ in pairs})} families")
    for name in ("allocated", "reserved", "process"):
        key = {"process": "process_bytes"}.get(name, f"peak_{name}_bytes")
        errors = [getattr(e, key).expected / getattr(r, name) - 1 for r, e in pairs]
        print(f"  {name:<10} {spread(errors)}")
    for name in ("reserved", "process"):
        key = {"process": "process_bytes"}.get(name, f"peak_{name}_bytes")
        over = [getattr(e, key).upper / getattr(r, name) for r, e in pairs]
        covered = sum(value >= 1 for value in over) / len(over)
        print(
            f"  upper bound of {name} covers {100 * covered:.1f} %, "
            f"on average {100 * (statistics.mean(over) - 1):.1f} % above"
        )


def by_group(pairs: list[tuple[Row, MemoryEstimate]]) -> None:
    """Allocated error by recipe class and by family."""
    for key in ("recipe", "family"):
        groups: dict[str, list[float]] = defaultdict(list)
        for row, estimate in pairs:
            error = estimate.peak_allocated_bytes.expected / row.allocated - 1
            groups[getattr(row, key)].append(error)
        for name in sorted(groups):
            errors = groups[name]
            bias = 100 * statistics.median(errors)
            print(f"  {name:<32} n={len(errors):<4} {spread(errors)}  bias {bias:+.2f} %")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--worst", type=int, default=0)
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    paths = options.files or sorted(FOLDER.glob("memory_*.json"))
    found = rows(paths)
    if not found:
        raise SystemExit(f"No measured cases in {FOLDER}.")
    pairs = left_out(found)
    report(pairs, "left-out families")
    by_group(pairs)
    if options.worst:
        ordered = sorted(
            pairs, key=lambda p: -abs(p[1].peak_allocated_bytes.expected / p[0].allocated - 1)
        )
        for row, estimate in ordered[: options.worst]:
            error = estimate.peak_allocated_bytes.expected / row.allocated - 1
            print(
                f"  {100 * error:+6.2f} %  {row.allocated / GIB:7.2f} GiB "
                f"[{estimate.peak_instant}] {json.dumps(row.given)}"
            )
    if options.fit:
        calibration = fitted(found)
        for name in ("allocated", "reserved"):
            print(f"{name}:")
            for key, margin in sorted(getattr(calibration, name).items()):
                print(
                    f'  "{key}": Margin(expected={margin.expected:.3f}, upper={margin.upper:.3f}),'
                )
        outside = [row.process - row.reserved for row in found]
        print(
            f"process - reserved: median {statistics.median(outside) / 2**20:.0f} MiB, "
            f"97th {quantile([float(o) for o in outside], 0.97) / 2**20:.0f} MiB"
        )


if __name__ == "__main__":
    main()
