"""Held-out loss over learning rate and rank, of a public sweep: surfaces a search is played on.

    python benchmarks/tune/search_surfaces.py SWEEP.csv

prints what tsplanner/tune/search/acquisition.py has learnt from them. The file is tinker-cookbook's sweep
with columns model, learning_rate, lora_rank and test_nll; runs of one place are averaged, diverged
runs are absent. Between runs the loss is interpolated in the logarithms of rate and rank; below the
lowest rate its slope goes on, if that is upwards; where nothing is listed at 1e-3 or 3e-3 it
diverged there: the model's worst loss and 0.05 or 0.1 nats on top.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from memory_models.settings import FinetuningType
from tsplanner.planner.advice import default_learning_rate
from tsplanner.tune.search.surrogate import SurrogatePrior, valley

GRID = (4e-5, 1e-4, 3e-4, 1e-3)
CLIFF = ((1e-3, 0.05), (3e-3, 0.1))
LOWEST = 1e-5
BILLIONS = {"Kimi": 1000.0, "DeepSeek": 671.0}
"""Parameters of models whose names do not tell."""
SHAPES = ("linear", "smooth")
OFFSET_SPREAD_AT_LEAST, SCALE_SPREAD_AT_LEAST = 0.4, 2.0
"""Other data and other sizes may lie further from the prior than one sweep shows."""


@dataclass(frozen=True, slots=True)
class Surface:
    """One model's losses."""

    model: str
    prior_rate: float
    complete: bool
    """Every rate of ``GRID`` is there for every rank, and three ranks are."""
    best: float
    """Lowest loss that was measured."""
    lines: dict[int, tuple[np.ndarray, np.ndarray]]
    """Logarithms of rates, and losses, by rank."""

    @property
    def rank(self) -> int:
        """The largest."""
        return max(self.lines)

    def loss(self, rate: float, rank: float, shape: str = "linear") -> float:
        """Interpolated loss."""
        ranks = sorted(self.lines)
        values = [self._on_line(known, math.log10(rate), shape) for known in ranks]
        return float(np.interp(math.log(rank), np.log(ranks), values))

    def _on_line(self, rank: int, decades: float, shape: str) -> float:
        rates, losses = self.lines[rank]
        if shape == "smooth":
            return float(PchipInterpolator(rates, losses)(decades))
        return float(np.interp(decades, rates, losses))


def surfaces(path: Path) -> list[Surface]:
    """Every model of the sweep."""
    found: dict[str, dict[tuple[float, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            place = float(row["learning_rate"]), int(row["lora_rank"])
            found[row["model"]][place].append(float(row["test_nll"]))
    return [
        surface(model, {place: statistics.fmean(losses) for place, losses in places.items()})
        for model, places in found.items()
    ]


def surface(model: str, places: dict[tuple[float, int], float]) -> Surface:
    """A surface from the mean loss at each rate and rank."""
    ranks = sorted({rank for _, rank in places})
    worst = max(places.values())
    return Surface(
        model=model,
        prior_rate=default_learning_rate(FinetuningType.LORA, int(1e9 * billions(model))),
        complete=len(ranks) >= 3 and all((rate, r) in places for rate in GRID for r in ranks),
        best=min(places.values()),
        lines={
            rank: line({rate: x for (rate, r), x in places.items() if r == rank}, worst)
            for rank in ranks
        },
    )


def line(losses: dict[float, float], worst: float) -> tuple[np.ndarray, np.ndarray]:
    """One rank's losses from ``LOWEST`` to the cliff."""
    top = max(losses)
    known = losses | {rate: worst + more for rate, more in CLIFF if rate > 1.05 * top}
    rates = [math.log10(rate) for rate in sorted(known)]
    values = [known[rate] for rate in sorted(known)]
    slope = min(0.0, (values[1] - values[0]) / (rates[1] - rates[0]))
    low = math.log10(LOWEST)
    return np.array([low, *rates]), np.array([values[0] + slope * (low - rates[0]), *values])


def billions(model: str) -> float:
    """Parameters, in billions, from a model's name."""
    for word, count in BILLIONS.items():
        if word in model:
            return count
    return float(re.findall(r"(\d+(?:\.\d+)?)[Bb]\b", model.split("/")[1])[0])


def fitted(one: Surface) -> tuple[float, float, float, float]:
    """Offset, scale, lean and cost of half the rank of the valley nearest to a surface."""
    rates, losses = one.lines[one.rank]
    near = (rates > math.log10(2e-5)) & (losses < losses.min() + 0.09)
    x, y = rates[near] - math.log10(one.prior_rate), losses[near]
    found = []
    for offset in np.linspace(-1, 1, 41):
        for lean in (1.0, 1.5, 2.5, 4.0, 6.0, 10.0):
            shape = valley(x - offset, lean)
            shape = shape - shape.mean()
            scale = max(1e-4, float(shape @ (y - y.mean()) / (shape @ shape + 1e-9)))
            error = float(np.square(y - y.mean() - scale * shape).sum())
            tie = 5e-8 * (offset**2 + math.log(lean / 2.5) ** 2)
            found.append((error + tie, float(offset), scale, lean))
    _, offset, scale, lean = min(found)
    smallest = min(one.lines)
    doublings = math.log2(one.rank / smallest)
    rank = (one.lines[smallest][1].min() - losses.min()) / doublings / scale
    return offset, scale, lean, float(rank)


def learnt(fits: Sequence[tuple[float, float, float, float]]) -> SurrogatePrior:
    """What surfaces have in common; never shown the one that is played on."""
    offsets, scales, leans, ranks = (np.array(column) for column in zip(*fits, strict=True))
    return SurrogatePrior(
        offset_mean=float(np.median(offsets)),
        offset_spread=max(OFFSET_SPREAD_AT_LEAST, float(offsets.std())),
        scale_median=float(np.median(scales)),
        scale_spread=max(SCALE_SPREAD_AT_LEAST, float(np.log(scales).std())),
        lean_median=float(np.median(leans)),
        lean_spread=float(np.log(leans).std()),
        rank_mean=float(np.median(ranks)),
        rank_spread=0.06,
    )


def main() -> None:
    """Print the evidence of all surfaces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    print(learnt([fitted(one) for one in surfaces(parser.parse_args().sweep)]))


if __name__ == "__main__":
    main()
