"""Other estimators on the published measurements, and tsplanner beside each on the same rows.

    python benchmarks/rivals/published.py --environment DIR               the seen half
    python benchmarks/rivals/published.py --environment DIR --set-aside   totals of the other half

DIR is the environment of ``compare.py``. A rival is told the settings of the row, as a person would
type them, and the card; it answers the rows that it has words for. Its tensor peak is held against
allocated bytes, its total against the process; of reserved bytes, which no rival means by either
figure, it is judged by whichever lies nearer. tsplanner answers twice: by the bare estimate of the
same settings, and with the habits of the row's trainer (``estimate --recipe``).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy.published import Judge, quantile
from benchmarks.accuracy.published_rows import Half, Memory, Published, published
from benchmarks.rivals.calls.table import RIVALS
from benchmarks.rivals.compare import ask, python_of
from benchmarks.rivals.view import view
from memory_models.units import GIB
from tsplanner.hardware.detect import machine_for
from tsplanner.models.source import ModelSource
from tsplanner.planner.gather.cases import Case, read_case


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A row as rivals are asked it, with our two answers."""

    given: Mapping[str, object]
    case: Case
    row: Published
    card_gib: float
    bare: float
    """Error of our bare estimate."""
    habits: float
    """Error of ours with the trainer's habits."""

    @property
    def measured(self) -> Memory:
        """The first figure of the row."""
        return self.row.memory[0]

    def error_of(self, answer: Mapping[str, Any]) -> float:
        """The error of a rival's answer, as a share of what was measured.

        Raises:
            LookupError: it has no figure of this kind.
        """
        kinds = {"allocated": ("allocated",), "reserved": ("allocated", "process")}
        found = [
            answer[kind] / self.measured.bytes - 1
            for kind in kinds.get(self.measured.instrument, ("process",))
            if answer.get(kind) is not None
        ]
        if not found:
            raise LookupError
        return float(min(found, key=abs))


def asked(half: Half) -> list[Asked]:
    """Rows with a measured peak that we have an answer to."""
    bare, habits, models = Judge(bare=True), Judge(), dict[str, ModelSource]()
    found = []
    for row in published(half):
        ours = (bare(row), habits(row)) if row.memory else ()
        if not ours or any(one.refused for one in ours):
            continue
        card = machine_for(row.gpu, None).devices[0]
        found.append(
            Asked(
                given=row.case,
                case=read_case(row.case, models),
                row=row,
                card_gib=card.total_bytes / GIB,
                bare=ours[0].memory[0].error,
                habits=ours[1].memory[0].error,
            )
        )
    return found


def errors_of(name: str, python: Path, rows: Sequence[Asked]) -> list[tuple[Asked, float]]:
    """The rows that a rival answers, with its errors."""
    views = [view(one, one.row.gpu, one.card_gib) for one in rows]
    chosen = [i for i, case in enumerate(views) if RIVALS[name].leaves_out(case) is None]
    answers = ask(name, python, [views[i] for i in chosen])["answers"] if chosen else []
    found = []
    for index, answer in zip(chosen, answers, strict=True):
        try:
            found.append((rows[index], rows[index].error_of(answer)))
        except LookupError:
            continue
    return found


def cells(errors: Sequence[float]) -> str:
    """Bias, median and 95th percentile, in percent."""
    plain = [abs(error) for error in errors]
    return (
        f"{100 * statistics.median(errors):+.1f} / {100 * statistics.median(plain):.1f} / "
        f"{100 * quantile(plain, 0.95):.1f}"
    )


def main() -> None:
    """Ask every rival and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--set-aside", action="store_true")
    options = parser.parse_args()
    python = python_of(options.environment.resolve())
    rows = asked(Half.SET_ASIDE if options.set_aside else Half.SEEN)
    print("| estimator | rows | bias / median / 95th % | ours, bare | ours, with habits |")
    print("|---|---:|---|---|---|")
    for name, rival in RIVALS.items():
        interpreter = python if rival.version is not None else Path(sys.executable)
        found = errors_of(name, interpreter, rows)
        if found:
            print(
                f"| {name} | {len(found)} | {cells([error for _, error in found])} | "
                f"{cells([one.bare for one, _ in found])} | "
                f"{cells([one.habits for one, _ in found])} |"
            )
    print(
        f"| tsplanner, all rows | {len(rows)} | | {cells([one.bare for one in rows])} | "
        f"{cells([one.habits for one in rows])} |"
    )


if __name__ == "__main__":
    main()
