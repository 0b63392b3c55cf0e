"""Accuracy of the memory estimate against committed measurements.

    python benchmarks/accuracy/memory.py [FILES]            the table, families left out in turn
    python benchmarks/accuracy/memory.py --held-out         cases that nothing was fitted or corrected on
    python benchmarks/accuracy/memory.py --worst 20         also the cases that miss most
    python benchmarks/accuracy/memory.py --fit              margins to put into Calibration

One GPU; several ranks: sharded_accuracy.py.
For each model family the margins are fitted on all other families and judged on this one. Held-out
cases are judged with the margins that ship. Verdicts: a card is big enough if the process fitted
into it uncapped, too small if its tensors alone did not; between the two only a run under a cap of
that size tells (``edges`` of the measurements), and cards without such a run are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from memory_models.bounds.intervals import recipe_class, replay_class
from memory_models.calibration import DEFAULT, Calibration, Margin
from memory_models.estimate import estimate_memory
from memory_models.result import MemoryEstimate
from memory_models.settings import TrainingSettings, changed
from memory_models.units import GIB
from tsplanner.planner.gather.cases import Case, read_case

FOLDER = Path(__file__).parents[1] / "data" / "measurements"
CAPACITIES_GIB = (11, 16, 22, 24, 40, 48, 80, 141)
COVERAGE = 0.98
"""Share of a class that its bound must cover: a plan that runs out of memory costs more than a wide
bound does."""
FEWEST = 8
"""A recipe class with fewer cases falls back to the default margin."""
RAW = changed(
    DEFAULT,
    allocated=MappingProxyType({"default": Margin(expected=0.0, upper=0.0)}),
    reserved=MappingProxyType({"default": Margin(expected=1.0, upper=1.0)}),
    replayed=MappingProxyType({"default": Margin(expected=0.0, upper=0.0)}),
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
    replayed: int
    """Reserved bytes as the simulated allocator has them."""
    scale: int
    """Bytes that margins are shares of."""


def rows(paths: list[Path]) -> list[Row]:
    """Every case that ran on one GPU without ZeRO, by a recipe that is still run."""
    found, models = [], {}
    for path in paths:
        for entry in json.loads(path.read_text())["cases"]:
            measured = entry.get("measured")
            if not measured or measured["status"] != "ok":
                continue
            case = read_case(entry["case"], models)
            # The AdaLoRA runs trained PEFT's divisors, which tsplanner has frozen since 0.2.
            if case.settings.sharding.kind != "alone" or case.settings.method.is_adalora:
                continue
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
                    replayed=replayed_bytes(case),
                    scale=scale_bytes(raw),
                )
            )
    return found


def replayed_bytes(case: Case) -> int:
    """Reserved bytes without margin."""
    found = estimate_memory(case.architecture, case.settings, None, RAW, replay=True)
    return found.peak_reserved_bytes.expected


def scale_bytes(raw: MemoryEstimate) -> int:
    """Under ``RAW`` quick reserved bytes are the peak plus what margins are shares of."""
    return raw.peak_reserved_bytes.expected - raw.peak_allocated_bytes.expected


def quantile(values: list[float], share: float) -> float:
    """The conformal quantile: of n values the ceil((n + 1) share)-th smallest, at most the last."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, -(-int((len(ordered) + 1) * share * 1000) // 1000) - 1)]


def margins(
    found: list[Row], measured: str, base: str, class_of: Callable[[TrainingSettings], str]
) -> dict[str, Margin]:
    """Median and upper share of measured bytes beyond ``base``, by class."""
    groups: dict[str, list[float]] = defaultdict(list)
    for row in found:
        share = (getattr(row, measured) - getattr(row, base)) / row.scale
        groups["default"].append(share)
        groups[class_of(row.case.settings)].append(share)
    return {
        name: Margin(expected=statistics.median(shares), upper=max(0.0, quantile(shares, COVERAGE)))
        for name, shares in groups.items()
        if name == "default" or len(shares) >= FEWEST
    }


def centred(found: dict[str, Margin]) -> MappingProxyType[str, Margin]:
    """Margins around an estimate that needs no correction."""
    return MappingProxyType({k: Margin(expected=0.0, upper=m.upper) for k, m in found.items()})


def fitted(found: list[Row]) -> Calibration:
    """A calibration from these rows: estimates by the formula alone, bounds from residuals."""
    return changed(
        DEFAULT,
        allocated=centred(margins(found, "allocated", "formula", recipe_class)),
        reserved=MappingProxyType(margins(found, "reserved", "formula", recipe_class)),
        replayed=centred(margins(found, "reserved", "replayed", replay_class)),
    )


def left_out(found: list[Row]) -> list[tuple[Row, MemoryEstimate]]:
    """Each row with the estimate of a calibration that never saw its family."""
    pairs = []
    for family in sorted({row.family for row in found}):
        others = fitted([row for row in found if row.family != family] or found)
        pairs += [(row, judged(row, others)) for row in found if row.family == family]
    return pairs


def judged(row: Row, calibration: Calibration) -> MemoryEstimate:
    """The whole estimate of a row."""
    case = row.case
    return estimate_memory(case.architecture, case.settings, None, calibration, replay=True)


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


def edges(paths: list[Path]) -> dict[tuple[str, int], bool]:
    """Whether a case (as JSON) ran under the cap of a card (GiB), where that was tried."""
    found = {}
    for path in paths:
        for edge in json.loads(path.read_text()).get("edges", []):
            key = json.dumps(edge["case"], sort_keys=True)
            found[key, edge["capacity_gib"]] = edge["fitted"]
    return found


def truth(row: Row, card: int, tried: dict[tuple[str, int], bool]) -> bool | None:
    """Whether a case fits a card; None if nobody knows."""
    outside = row.process - row.reserved
    if row.process <= card * GIB:
        return True
    if row.allocated + outside > card * GIB:
        return False
    return tried.get((json.dumps(row.given, sort_keys=True), card))


def verdicts(pairs: list[tuple[Row, MemoryEstimate]], paths: list[Path]) -> None:
    """How often a verdict was wrong, over all cards."""
    tried = edges(paths)
    said_fits = said_not = wrong_fits = wrong_not = tight = unknown = 0
    for row, estimate in pairs:
        for card in CAPACITIES_GIB:
            fits = truth(row, card, tried)
            if fits is None:
                unknown += 1
            elif estimate.process_bytes.upper <= card * GIB:
                said_fits, wrong_fits = said_fits + 1, wrong_fits + (not fits)
            elif estimate.process_bytes.expected > card * GIB:
                said_not, wrong_not = said_not + 1, wrong_not + fits
            else:
                tight += 1
    print(
        f"  verdicts on {len(CAPACITIES_GIB)} cards: said fits {said_fits}, of them wrong "
        f"{wrong_fits}; said does not fit {said_not}, of them wrong {wrong_not} "
        f"({100 * wrong_not / max(1, said_not):.1f} %); tight {tight}; not known {unknown}"
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
    parser.add_argument("--held-out", action="store_true")
    options = parser.parse_args()
    prefix = "held_out_" if options.held_out else ""
    patterns = (f"{prefix}memory_*.json", f"{prefix}sharded_*.json")
    paths = options.files or sorted(path for each in patterns for path in FOLDER.glob(each))
    found = rows(paths)
    if not found:
        raise SystemExit(f"No measured cases in {FOLDER}.")
    if options.held_out:
        pairs = [(row, judged(row, DEFAULT)) for row in found]
        report(pairs, "held out")
        verdicts(pairs, paths)
        return
    pairs = left_out(found)
    report(pairs, "left-out families")
    verdicts(pairs, paths)
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
        for name in ("allocated", "reserved", "replayed"):
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
