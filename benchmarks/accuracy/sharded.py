"""Accuracy of the memory estimate on several ranks, against committed measurements.

    python benchmarks/accuracy/sharded.py [FILES]    the table, by sharding and all together
    python benchmarks/accuracy/sharded.py --held-out    cases that no constant was fitted on
    python benchmarks/accuracy/sharded.py --each        one line a case as well

Judged with the margins that ship; ``--left-out`` fits those of ZeRO-3 (bytes beside the share) on
the other families in turn. Allocated, reserved and process bytes are the fullest rank's, host bytes
all ranks' together with what is pinned. "Outside" is the driver's view minus reserved bytes.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from memory_models.calibration import DEFAULT, Calibration
from memory_models.estimate import estimate_memory
from memory_models.result import MemoryEstimate
from memory_models.settings import changed
from memory_models.units import MIB
from tsplanner.planner.gather.cases import Case, read_case

FOLDER = Path(__file__).parents[1] / "data" / "measurements"
NAMES = {"ddp": "DDP", "zero": "ZeRO-1 and 2", "zero-3": "ZeRO-3"}
GATHERED = "gathered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A measured case and its estimate."""

    given: dict[str, object]
    case: Case
    estimate: MemoryEstimate
    allocated: int
    reserved: int
    process: int
    host: int

    @property
    def errors(self) -> tuple[float, float]:
        """Of allocated and of host bytes."""
        found = self.estimate
        return (
            found.peak_allocated_bytes.expected / self.allocated - 1,
            found.host_bytes.expected / self.host - 1,
        )

    @property
    def above(self) -> tuple[float, float, float]:
        """Bounds of reserved, process and host bytes over what was measured."""
        found = self.estimate
        return (
            found.peak_reserved_bytes.upper / self.reserved - 1,
            found.process_bytes.upper / self.process - 1,
            found.host_bytes.upper / self.host - 1,
        )


def rows(paths: Iterable[Path], calibration: Calibration = DEFAULT) -> list[Row]:
    """Every case that ran."""
    found = []
    for path in paths:
        for entry in json.loads(path.read_text())["cases"]:
            measured = entry.get("measured")
            if not measured or measured["status"] != "ok":
                continue
            case = read_case(entry["case"], {})
            found.append(
                Row(
                    given=entry["case"],
                    case=case,
                    estimate=_estimate(case, calibration),
                    allocated=measured["peak_allocated_bytes"],
                    reserved=measured["peak_reserved_bytes"],
                    process=measured["process_bytes"],
                    host=measured["host_bytes"],
                )
            )
    return found


def _estimate(case: Case, calibration: Calibration) -> MemoryEstimate:
    return estimate_memory(case.architecture, case.settings, None, calibration, replay=True)


def left_out(found: list[Row]) -> list[Row]:
    """Each ZeRO-3 row with the largest miss of the other families instead of the shipped bytes."""
    bare = _with_floor(0)
    missed = {
        id(row): row.reserved - _estimate(row.case, bare).peak_reserved_bytes.upper for row in found
    }
    judged = []
    for row in found:
        family = row.case.architecture.model_type
        others = [
            missed[id(other)]
            for other in found
            if other.case.settings.sharding.kind == "zero-3"
            and other.case.architecture.model_type != family
        ]
        if row.case.settings.sharding.kind != "zero-3" or not others:
            judged.append(row)
            continue
        floor = _with_floor(max(0, *others))
        judged.append(replace(row, estimate=_estimate(row.case, floor)))
    return judged


def _with_floor(floor: int) -> Calibration:
    margin = replace(DEFAULT.margins.replayed[GATHERED], floor_bytes=floor)
    return changed(
        DEFAULT, replayed=MappingProxyType({**DEFAULT.margins.replayed, GATHERED: margin})
    )


def table(found: list[Row]) -> None:
    """The figures of a set of cases, by sharding."""
    print(
        f"{'sharding':<14} {'cases':>5}  {'allocated':>15}  {'reserved bound':>16}  "
        f"{'process':>7}  {'host':>15}  {'host bound':>10}  outside MiB"
    )
    print(
        f"{'':<14} {'':>5}  {'median':>7} {'worst':>7}  {'covers':>7} {'excess':>8}  "
        f"{'covers':>7}  {'median':>7} {'worst':>7}  {'covers':>10}  x1 / x2"
    )
    for key, name in NAMES.items():
        _line(name, [row for row in found if row.case.settings.sharding.kind == key])
    _line("all", found)


def _line(name: str, found: list[Row]) -> None:
    if not found:
        return
    allocated, host = zip(*(row.errors for row in found), strict=True)
    reserved, process, hosts = zip(*(row.above for row in found), strict=True)
    outside = " / ".join(_outside(found, ranks) for ranks in (1, 2)) if name != "all" else ""
    print(
        f"{name:<14} {len(found):>5}  {_of(allocated, statistics.median)} {_of(allocated, max)}  "
        f"{_share(reserved)} {100 * statistics.mean(reserved):>6.1f} %  {_share(process)}  "
        f"{_of(host, statistics.median)} {_of(host, max)}  {_share(hosts):>10}  {outside}"
    )


def _of(errors: tuple[float, ...], pick: Callable[[Iterable[float]], float]) -> str:
    return f"{100 * pick([abs(error) for error in errors]):>5.2f} %"


def _share(above: tuple[float, ...]) -> str:
    return f"{100 * sum(value >= 0 for value in above) / len(above):>5.1f} %"


def _outside(found: list[Row], ranks: int) -> str:
    """Median of the driver's view minus reserved bytes."""
    seen = [
        (row.process - row.reserved) / MIB
        for row in found
        if row.case.settings.sharding.world_size == ranks
    ]
    return f"{statistics.median(seen):.0f}" if seen else "-"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--left-out", action="store_true")
    parser.add_argument("--each", action="store_true")
    options = parser.parse_args()
    pattern = "held_out_sharded_*.json" if options.held_out else "sharded_*.json"
    found = rows(options.files or sorted(FOLDER.glob(pattern)))
    if not found:
        raise SystemExit(f"No measured cases in {FOLDER}.")
    table(left_out(found) if options.left_out else found)
    for row in found if options.each else ():
        allocated, host = row.errors
        print(
            f"{100 * allocated:+6.2f} % allocated, {100 * host:+6.2f} % host, bound "
            f"{100 * row.above[0]:+6.1f} % [{row.estimate.peak_instant}] {json.dumps(row.given)}"
        )


if __name__ == "__main__":
    main()
