"""Published measurements of other people's cards, predicted by ``estimate`` and the step time.

    python benchmarks/accuracy/published.py                 the seen half: by source, by GPU, in sum
    python benchmarks/accuracy/published.py --rows          also every row of it
    python benchmarks/accuracy/published.py --set-aside     totals of the half that is set aside
    python benchmarks/accuracy/published.py --bare          without the habits of each row's trainer
    python benchmarks/accuracy/published.py --spread        measured over estimated, by recipe

A row is estimated with the settings that its source states; what it does not state is the habit of
the trainer (``estimate --recipe``), or with ``--bare`` the default of ``estimate``. Errors of memory
are against the instrument that the source used; where it names none, against the process. A bound
covers if what was measured is below it. Verdicts: "fits" is wrong of a run that is known to have run
out of memory, "does not fit" of a run that ran within the card. Single rows of the set-aside half
are never printed.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.accuracy.published_rows import SEEN_BEFORE, Half, Memory, Published, published
from memory_models.device import Machine
from memory_models.estimate import estimate_memory
from memory_models.result import MemoryEstimate
from memory_models.units import GIB
from tsplanner.errors import TsplannerError
from tsplanner.hardware.detect import machine_for
from tsplanner.models.source import ModelSource
from tsplanner.planner.gather.cases import read_case
from tsplanner.planner.gather.recipes import RECIPES, states_bytes, under
from tsplanner.planner.plan import Verdict, verdict_of
from tsplanner.throughput.errors import relative_error
from tsplanner.throughput.rates import rates_of
from tsplanner.throughput.step_time import step_time

HABITS = {
    **{name: name for name in RECIPES},
    "trl": "trl-0",
    "peft": "transformers",
    "deepspeed": "transformers",
}
"""Recipes by the trainer of a source; every source that used TRL is older than TRL 1.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMiss:
    """One measured peak and its estimate."""

    measured: Memory
    error: float
    covered: bool
    ratio: float
    """Measured over estimated bytes of PyTorch's allocator beyond the model states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeMiss:
    """One measured step and its estimate."""

    error: float
    held: bool
    """Whether what was measured lies in the interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A row with everything that was predicted of it."""

    row: Published
    refused: str = ""
    """Why there is no prediction; empty if there is one."""
    memory: tuple[MemoryMiss, ...] = ()
    time: TimeMiss | None = None
    verdict: Verdict | None = None
    within_card: bool = True
    """False: more was measured than the card has, as where a driver spills into RAM."""
    predicted_gib: float = 0.0

    @property
    def wrong_fit(self) -> bool:
        """Said to fit, and known to have run out of memory."""
        return not self.row.ran and self.verdict is Verdict.FITS

    @property
    def wrong_refusal(self) -> bool:
        """Said not to fit, and known to have run."""
        return self.row.ran and self.within_card and self.verdict is Verdict.DOES_NOT_FIT


class Judge:
    """Predicts rows; each model and each machine is read once."""

    def __init__(self, *, bare: bool = False) -> None:
        """``bare``: nothing is taken from the habits of trainers."""
        self.bare = bare
        self.models: dict[str, ModelSource] = {}
        self.machines: dict[tuple[str, int], Machine] = {}

    def __call__(self, row: Published) -> Judged:
        """The row with its predictions, or with why there are none."""
        try:
            machine = self._machine(row)
            estimate = self._estimate(row, row.case, machine)
        except (TsplannerError, ValueError) as error:
            return Judged(row=row, refused=str(error))
        device = machine.devices[0]
        most = max((each.bytes for each in row.memory), default=0)
        return Judged(
            row=row,
            memory=tuple(_memory_error(each, estimate) for each in row.memory),
            time=self._time(row, machine),
            verdict=verdict_of(estimate.process_bytes, device.free_bytes),
            within_card=most <= device.total_bytes,
            predicted_gib=estimate.process_bytes.expected / GIB,
        )

    def _machine(self, row: Published) -> Machine:
        key = (row.gpu, row.world_size)
        if key not in self.machines:
            self.machines[key] = machine_for(f"{row.world_size}x {row.gpu}", None)
        return self.machines[key]

    def _case(self, row: Published, values: dict[str, object]) -> dict[str, object]:
        """The settings of a row with the habits of its trainer under them."""
        recipe = None if self.bare else HABITS.get(row.trainer)
        return dict(values) if recipe is None else {**values, "recipe": recipe}

    def _estimate(
        self, row: Published, values: dict[str, object], machine: Machine
    ) -> MemoryEstimate:
        case = read_case(self._case(row, values), self.models)
        found = estimate_memory(case.architecture, case.settings, machine.devices[0], replay=True)
        return under(found, case.recipe)

    def _time(self, row: Published, machine: Machine) -> TimeMiss | None:
        if row.time is None:
            return None
        case = read_case(self._case(row, row.time.case), self.models)
        rates = rates_of(machine)
        step = step_time(case.architecture, case.settings, rates)
        off = step.seconds / row.time.seconds - 1
        width = relative_error(step, case.settings, rates)
        return TimeMiss(error=off, held=abs(row.time.seconds / step.seconds - 1) <= width)


def _memory_error(measured: Memory, estimate: MemoryEstimate) -> MemoryMiss:
    found = getattr(estimate, measured.quantity)
    fixed = states_bytes(estimate)
    if measured.quantity == "process_bytes":
        fixed += found.expected - estimate.peak_reserved_bytes.expected
    return MemoryMiss(
        measured=measured,
        error=found.expected / measured.bytes - 1,
        covered=found.upper >= measured.bytes,
        ratio=(measured.bytes - fixed) / (found.expected - fixed),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def shares(hits: Iterable[bool]) -> str:
    """Hits of all, such as ``12 of 14``."""
    found = list(hits)
    return f"{sum(found)} of {len(found)}"


def spread(errors: Sequence[float]) -> str:
    """Median of the errors with their sign, then median and 95th percentile without it."""
    if not errors:
        return f"{'-':>22}"
    plain = [abs(error) for error in errors]
    return (
        f"{100 * statistics.median(errors):+7.1f}{100 * statistics.median(plain):7.1f}"
        f"{100 * quantile(plain, 0.95):8.1f}"
    )


def line(name: str, found: Sequence[Judged]) -> str:
    """One line of the table."""
    memory = [each for one in found for each in one.memory]
    times = [one.time for one in found if one.time is not None]
    known = [one for one in found if not one.refused]
    oom = [one for one in known if not one.row.ran]
    ran = [one for one in known if one.row.ran and one.within_card]
    return (
        f"{name:28}{len(found):5}{spread([each.error for each in memory])}"
        f"{shares(each.covered for each in memory):>12}"
        f"  {spread([each.error for each in times])}{shares(each.held for each in times):>10}"
        f"{shares(one.wrong_fit for one in oom):>10}{shares(one.wrong_refusal for one in ran):>11}"
    )


HEADING = (
    f"{'':28}{'rows':>5}{'memory: bias, median, 95th %':>22}{'bound':>6}"
    f"  {'time: bias, median, 95th %':>22}{'held':>6}{'wrong fits':>12}{'refusals':>9}"
)


def tables(found: Sequence[Judged], *, single: bool) -> None:
    """Print the tables: by source and by GPU where single sources may be looked at, and in sum."""
    print(HEADING)
    if single:
        _groups(found, lambda one: one.row.source)
        _groups(found, lambda one: one.row.gpu)
    stated = [one for one in found if one.row.stated]
    print(line("settings stated in full", stated))
    told = [one for one in stated if not one.row.beyond]
    if len(told) < len(stated):
        print(line("- and a case can say them", told))
    print(line("settings read in part", [one for one in found if not one.row.stated]))
    fresh = [one for one in found if one.row.source not in SEEN_BEFORE]
    if len(fresh) < len(found):
        print(line("never predicted before", fresh))
    print(line("all", found))
    refused = [one for one in found if one.refused]
    print(f"refused: {len(refused)} of {len(found)}")


def _groups(found: Sequence[Judged], key: Callable[[Judged], str]) -> None:
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one)
    for name in sorted(groups):
        print(line(name, groups[name]))
    print()


def print_rows(found: Sequence[Judged]) -> None:
    """Every row with its errors."""
    for one in found:
        row = one.row
        memory = " ".join(
            f"{each.measured.instrument} {each.measured.bytes / GIB:.2f} {100 * each.error:+.1f}%"
            f"{'' if each.covered else ' OVER'}"
            for each in one.memory
        )
        time = "" if one.time is None else f"time {100 * one.time.error:+.0f}%"
        said = one.refused or f"{one.verdict} {one.predicted_gib:.2f}"
        wrong = "WRONG" if one.wrong_fit or one.wrong_refusal else ""
        model = str(row.case["model"]).rpartition("/")[2]
        words = {
            key: value
            for key, value in row.case.items()
            if key not in ("model", "lora_target", "lora_dropout")
        }
        print(
            f"{row.source} | {row.gpu} | {model} | ran {row.ran} | {memory} | {time} | {said} "
            f"{wrong} | {words} {row.note}"
        )


def print_spreads(found: Sequence[Judged]) -> None:
    """What 95 % of a recipe's runs stayed under, beyond model states (``Recipe.spread``).

    The rank is that of a conformal quantile: of n runs the ceil(0.95 (n + 1))th, at most the last.
    """
    ratios: dict[str, list[float]] = defaultdict(list)
    for one in found:
        recipe = HABITS.get(one.row.trainer)
        for each in one.memory if recipe else ():
            ratios[str(recipe)].append(each.ratio)
            ratios["all with a recipe"].append(each.ratio)
    for name, values in sorted(ratios.items()):
        rank = min(len(values), math.ceil(0.95 * (len(values) + 1)))
        print(f"{name:20}{len(values):4} runs, 95 % under {sorted(values)[rank - 1]:.3f}")


def main() -> None:
    """Predict one half and print what is to be seen of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", action="store_true", help="every row of the seen half")
    parser.add_argument("--set-aside", action="store_true", help="totals of the other half")
    parser.add_argument("--bare", action="store_true", help="without the habits of trainers")
    parser.add_argument("--spread", action="store_true", help="measured over estimated, seen half")
    options = parser.parse_args()
    half = Half.SET_ASIDE if options.set_aside else Half.SEEN
    judge = Judge(bare=options.bare)
    found = [judge(row) for row in published(half)]
    if options.rows and half is Half.SEEN:
        print_rows(found)
    if options.spread and half is Half.SEEN:
        return print_spreads(found)
    tables(found, single=half is Half.SEEN)


if __name__ == "__main__":
    main()
