"""The 95 % interval of the confirmation on a public sweep: how often it covers the true difference.

    python benchmarks/tune/coverage.py --surfaces SWEEP.csv [--seeds 4]

Plays the search of ``search_offline.py`` with its confirmation, where each run adds normal noise, and
asks of every confirmation that ran a pair whether the interval that ``tune`` would print holds the
surface's noiseless difference between candidate and baseline. Losses are also multiplied, with
their noise, for a small model differs by nats where the sweep's differ by hundredths. ``width`` is
the median half width over the standard error that a reader with the true noise would know.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

from benchmarks.tune.search_offline import Game, play
from benchmarks.tune.search_surfaces import SHAPES, Surface, fitted, learnt, surfaces
from tsplanner.tune.search import acquisition
from tsplanner.tune.search.surrogate import SurrogatePrior


def covering(
    game: Game, scale: float, trials: int, prior: SurrogatePrior
) -> tuple[bool, float] | None:
    """Whether the interval covers, and its half width over the exact one's; None: no pair ran."""
    found = play(game, trials, prior, scale)
    if not found.pairs:
        return None
    noise = acquisition.noise(found.seen, found.pairs, found.best, found.baseline, prior)
    mean, half = acquisition.interval(found.pairs, noise)
    true = found.truth(found.best) - found.truth(found.baseline)
    exact = acquisition.NORMAL_95 * scale * game.noise * math.sqrt(2 / len(found.pairs))
    return abs(mean - true) <= half, half / exact


def main() -> None:
    """Print a line per noise and scale."""
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
                prior = learnt([fit for place, fit in enumerate(fits) if place != row])
                found += games(one, noise, scale, prior, options, 1000 * row)
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
    prior: SurrogatePrior,
    options: argparse.Namespace,
    first: int,
) -> list[tuple[bool, float]]:
    """Every seed of one surface from ``first`` on: surfaces that share seeds share their noise."""
    played_out = (
        covering(Game(surface, first + seed, noise, SHAPES[0]), scale, options.trials, prior)
        for seed in range(options.seeds)
    )
    return [one for one in played_out if one is not None]


if __name__ == "__main__":
    main()
