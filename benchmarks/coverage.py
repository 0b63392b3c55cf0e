"""The last word's 95 % interval on a public sweep: how often it covers the true difference.

    python benchmarks/coverage.py --surfaces SWEEP.csv [--seeds 4]

Plays the search of ``search_offline.py`` with its last word, where each run adds normal noise, and
asks of every last word that ran a pair whether the interval that ``tune`` would print holds the
surface's noiseless difference between challenger and default. Losses are also multiplied, with
their noise, for a small model differs by nats where the sweep's differ by hundredths. ``width`` is
the median half width over the standard error that a reader with the true noise would know.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

from search_offline import RATES, Game
from search_surfaces import SHAPES, Surface, fitted, learnt, surfaces

from tsplanner.tune import strategy
from tsplanner.tune.belief import Evidence, Point, Seen
from tsplanner.tune.final import NORMAL_95


def played(game: Game, scale: float, trials: int, evidence: Evidence) -> tuple[bool, float] | None:
    """Whether the interval covers, and its half width over the exact one's; None: no pair ran."""
    prior, largest = game.surface.prior_rate, game.surface.rank
    default = Point(decades=0.0)
    grid = strategy.Grid(
        default=default,
        decades=(math.log10(RATES[0] / prior), math.log10(RATES[1] / prior)),
        halvings=tuple(float(h) for h in range(int(math.log2(largest)) + 1)),
    )

    def place(point: Point) -> tuple[float, float]:
        return prior * 10**point.decades, largest / 2**point.halvings

    seen: list[Seen] = []
    pairs: list[strategy.Pair] = []
    while len(seen) < trials - 2 * strategy.pairs_of(trials):
        point = strategy.next_point(seen, [], grid, evidence)
        seen.append(Seen(point=point, loss=scale * game.run(*place(point))))
    best = strategy.challenger(seen, grid, evidence)
    if best == default:
        return None
    likely = strategy.chance(seen, pairs, best, default, evidence)
    while len(pairs) < strategy.pairs_of(trials) and strategy.wanted(likely, pairs):
        difference = scale * (game.run(*place(best)) - game.run(*place(default)))
        pairs.append(strategy.Pair(difference=difference))
        likely = strategy.chance(seen, pairs, best, default, evidence)
    if not pairs:
        return None
    noise = strategy.noise(seen, pairs, best, default, evidence)
    half = NORMAL_95 * math.sqrt(2 * noise**2 / len(pairs))
    mean = statistics.fmean(pair.difference for pair in pairs)
    true = scale * (game.true(*place(best)) - game.true(*place(default)))
    exact = NORMAL_95 * scale * game.noise * math.sqrt(2 / len(pairs))
    return abs(mean - true) <= half, half / exact


def main() -> None:
    """A line a noise and scale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--surfaces", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--noises", type=float, nargs="+", default=[0.001, 0.003, 0.01])
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 30.0])
    options = parser.parse_args()
    lines = surfaces(options.surfaces)
    fits = [fitted(one) for one in lines]
    for noise in options.noises:
        for scale in options.scales:
            found = []
            for row, one in enumerate(lines):
                evidence = learnt([fit for place, fit in enumerate(fits) if place != row])
                found += games(one, noise, scale, evidence, options, 1000 * row)
            covered = sum(covers for covers, _ in found) / max(1, len(found))
            width = statistics.median(ratio for _, ratio in found) if found else math.nan
            print(
                f"noise {noise:g}, losses x {scale:g}: {covered:.1%} of {len(found)} covered, "
                f"width {width:.2f}",
                flush=True,
            )


def games(
    surface: Surface,
    noise: float,
    scale: float,
    evidence: Evidence,
    options: argparse.Namespace,
    first: int,
) -> list[tuple[bool, float]]:
    """Every seed of one surface from ``first`` on: surfaces that share seeds share their noise."""
    played_out = (
        played(Game(surface, first + seed, noise, SHAPES[0]), scale, options.trials, evidence)
        for seed in range(options.seeds)
    )
    return [one for one in played_out if one is not None]


if __name__ == "__main__":
    main()
