"""``tsplanner plan --rent``: which machine to rent, by the cost of the full run on each."""

from __future__ import annotations

import argparse
import datetime
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from memory_models.units import GIB, counted
from tsplanner.commands.views.plan import money
from tsplanner.commands.views.scan_bar import scan_bar
from tsplanner.commands.views.screen import Screen, trace_status
from tsplanner.console import command
from tsplanner.errors import EXIT_NO_PLAN, EXIT_OK, UsageError
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rent.prices import PriceFile, read_prices
from tsplanner.planner.rent.ranking import Ranking, Refused, Rented, ranking
from tsplanner.planner.settings import HardwareSettings
from tsplanner.report.text import duration, table

SHOWN = 12
"""Machines that a person is shown."""
MOST_REASONS = 3
"""Reasons against machines that a person is shown."""
OLD_DAYS = 30
"""From this age on prices are said to be old."""
NOT_WITH = (
    "gpus",
    "machine",
    "host_memory",
    "nodes",
    "node_link",
    "cpu",
    "experiment",
    "output",
    "price_per_hour",
    "probe",
    "probe_budget",
)
"""Flags that describe one machine, or do something on it."""


def rent_from(options: argparse.Namespace, subject: Subject) -> int:
    """Rank the machines of a price file for what was asked; 4 if the run fits on none.

    Raises:
        UsageError: a flag names one machine, or there is a deadline but no length of the run.
        TsplannerError: the prices, the model or the dataset cannot be read.
    """
    if options.rent is None:
        raise UsageError("--deadline is for --rent: give both, or leave it out.")
    for name in NOT_WITH:
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"--rent looks at many machines: leave out {flag}.")
    prices = read_prices(Path(options.rent) if options.rent else None)
    with scan_bar(shown=not options.json) as progress:
        first = replace(subject, gpus=prices.offers[0].gpus)
        request = plan_request(first, Path(options.saves), progress)
    if options.deadline is not None and not request.dataset.lengths.rows_kept:
        raise UsageError("--deadline needs a dataset: without one the length of a run is unknown.")
    with trace_status("planning") as on_machine:
        found = ranking(request, prices.offers, options.deadline, on_machine)
    if options.json:
        print(json.dumps(document(found, prices, options.deadline)))
    else:
        print_ranking(found, prices, options.deadline)
    return EXIT_OK if found.fitting else EXIT_NO_PLAN


def document(found: Ranking, prices: PriceFile, deadline: float | None) -> dict[str, object]:
    """The ranking as plain values."""
    return {
        "prices": {
            "date": prices.day.isoformat(),
            "age_days": prices.age_days(datetime.date.today()),
            "currency": prices.currency,
            "source": prices.source,
        },
        "deadline_seconds": deadline,
        "machines": [_plain(one) for one in found.fitting],
        "no_plan_fits": [
            {"cloud": one.offer.cloud, "gpus": one.offer.gpus, "why": one.why}
            for one in found.refused
        ],
    }


def _plain(one: Rented) -> dict[str, object]:
    return {
        "cloud": one.offer.cloud,
        "gpus": one.offer.gpus,
        "price_per_hour": one.offer.price_per_hour,
        "of": one.cost.of,
        "cost": {
            "expected": one.cost.expected,
            "lower": one.cost.lower,
            "upper": one.cost.upper,
        },
        "hours": {"expected": one.hours, "lower": one.hours_lower, "upper": one.hours_upper},
        "deadline": str(one.lateness),
        "verdict": str(one.plan.verdict),
        "settings": settings_of(one.plan.hardware),
    }


def settings_of(hardware: HardwareSettings) -> str:
    """What is particular about the settings, in a few words."""
    base = str(hardware.base.quantization or hardware.base.model_dtype)
    sharding = hardware.sharding
    used = "" if sharding.world_size == 1 else f" · {counted(sharding.world_size, 'GPU')}"
    stage = f" · ZeRO-{sharding.zero_stage}" if sharding.zero_stage else ""
    offload = " + offload" if sharding.offload_optimizer or sharding.offload_param else ""
    return f"{base}{used}{stage}{offload}"


def print_ranking(found: Ranking, prices: PriceFile, deadline: float | None) -> None:
    """The cheapest machines, what did not fit, and how old the prices are."""
    screen = Screen()
    if found.fitting:
        of = found.fitting[0].cost.of
        within = "" if deadline is None else f", over within {duration(deadline)}"
        screen.line(f"What to rent: cost of {of}{within}", "bold")
        shown = found.by_card[:SHOWN]
        _table(screen, shown, prices.currency, has_deadline=deadline is not None)
        if hidden := len(found.fitting) - len(shown):
            words = counted(hidden, "dearer or later machine")
            screen.line(f"  {words} not shown (--json): of a card only the best number is.", "dim")
        screen.line("  Costs whose intervals overlap may well change places.", "dim")
    _print_refused(screen, found.refused)
    if found.best is not None:
        _print_faster(screen, found.best, found.faster)
        _print_best(screen, found.best)
    elif found.fitting:
        screen.line("  No machine is over in time: ask for more time, or for fewer epochs.")
    _print_age(screen, prices)


def _table(screen: Screen, shown: Sequence[Rented], currency: str, *, has_deadline: bool) -> None:
    heading = ["machine", "from", f"{currency}/hour", "cost", "95 %", "hours", "95 %", "settings"]
    rows = [
        [
            one.offer.gpus,
            one.offer.cloud,
            money(one.offer.price_per_hour),
            money(one.cost.expected),
            f"{money(max(0.0, one.cost.lower))} to {money(one.cost.upper)}",
            f"{one.hours:.3g}",
            f"{one.hours_lower:.2g} to {one.hours_upper:.2g}",
            settings_of(one.plan.hardware),
            *([str(one.lateness)] if has_deadline else []),
        ]
        for one in shown
    ]
    if has_deadline:
        heading.append("deadline")
    for number, line in enumerate(table([heading, *rows], left=2)):
        screen.line(f"  {line}", "" if number else "bold")


def _print_refused(screen: Screen, refused: Sequence[Refused]) -> None:
    """The machines that are too small, and what else keeps a plan from machines."""
    small = dict.fromkeys(one.offer.gpus for one in refused if one.for_memory)
    if small:
        screen.line(f"  No plan fits: {', '.join(small)}")
    others = Counter(one.why for one in refused if not one.for_memory)
    for why, machines in others.most_common(MOST_REASONS):
        screen.line(f"  On {counted(machines, 'machine')}: {why}", "yellow")


def _print_faster(screen: Screen, best: Rented, faster: Rented | None) -> None:
    """A machine that is over sooner for little more."""
    if faster is not None:
        screen.line(
            f"  Faster for little more: {faster.offer.gpus} ({faster.offer.cloud}), "
            f"{money(faster.cost.expected)} in {faster.hours:.3g} hours, "
            f"{best.hours / faster.hours:.2g} times as fast"
        )


def _print_best(screen: Screen, best: Rented) -> None:
    """How to see the whole plan of the first machine."""
    host = best.offer.machine.host.total_bytes // GIB
    tight = "" if best.plan.verdict is Verdict.FITS else "; its memory is tight"
    words = command("--gpus", best.offer.gpus, "--host-memory", f"{host}GiB").partition(" ")[2]
    screen.line(f"  The whole plan: the same command with {words} instead of --rent{tight}.")


def _print_age(screen: Screen, prices: PriceFile) -> None:
    """Of which day the prices are, and what is not in them."""
    days = prices.age_days(datetime.date.today())
    old = ", which is old: check them, or give a file of your own" if days >= OLD_DAYS else ""
    words = f"  Prices of {prices.day.isoformat()}, {counted(days, 'day')} ago{old}."
    screen.line(f"{words} {prices.source}".rstrip(), "dim")
    screen.line(
        "  Not counted: the start of the machine, downloads, loading, storage. Only an H200's "
        "speed was measured; that of other cards comes from datasheets.",
        "dim",
    )
