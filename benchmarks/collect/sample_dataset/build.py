"""Build configs/datasets/sample/sample.jsonl from public-domain series that statsmodels ships.

    python3 benchmarks/collect/sample_dataset/build.py

The same seed gives the same file, byte for byte. Needs statsmodels, nothing of it at run time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from labels import (
    break_label,
    change_label,
    movement_label,
    outlier_label,
    peak_label,
    recurrence_label,
    together_label,
    trough_label,
)

REPOSITORY = Path(__file__).resolve().parents[3]
TARGET = REPOSITORY / "configs" / "datasets" / "sample" / "sample.jsonl"
ROWS = 440
SHORTEST, LONGEST = 48, 96
TS = "<ts><ts/>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One real series: what it is called in a question, and its values."""

    name: str
    values: np.ndarray


MACRO_COLUMNS = {
    "realgdp": "Economy",
    "realcons": "Consumption",
    "realinv": "Investment",
    "realgovt": "Public spending",
    "realdpi": "Income",
    "cpi": "Prices",
    "m1": "Money",
    "tbilrate": "Interest rate",
    "unemp": "Unemployment",
    "infl": "Inflation",
    "realint": "Real interest",
}


def sources() -> list[Source]:
    """Every series, gaps filled by straight lines. All five data sets are public domain.

    Nature's five stand three times in the list, or the eleven of the economy would outweigh them.
    """
    sunspots = sm.datasets.sunspots.load_pandas().data["SUNACTIVITY"]
    carbon = sm.datasets.co2.load_pandas().data["co2"].interpolate()
    nile = sm.datasets.nile.load_pandas().data["volume"]
    ocean = sm.datasets.elnino.load_pandas().data.drop(columns="YEAR").to_numpy().ravel()
    macro = sm.datasets.macrodata.load_pandas().data
    monthly = carbon.to_numpy()[: len(carbon) // 4 * 4].reshape(-1, 4).mean(axis=1)
    nature = [
        Source(name="Sunspots", values=sunspots.to_numpy()),
        Source(name="Carbon dioxide", values=carbon.to_numpy()),
        Source(name="Monthly carbon dioxide", values=monthly),
        Source(name="Nile flow", values=nile.to_numpy()),
        Source(name="Sea temperature", values=ocean[np.isfinite(ocean)]),
    ]
    economy = [
        Source(name=name, values=macro[column].to_numpy()) for column, name in MACRO_COLUMNS.items()
    ]
    return nature * 3 + economy


QUESTIONS: tuple[tuple[str, Callable[[np.ndarray], str]], ...] = (
    ("Movement?", movement_label),
    ("Recurrence?", recurrence_label),
    ("Break?", break_label),
    ("Outlier?", outlier_label),
    ("Peak?", peak_label),
    ("Trough?", trough_label),
    ("Ends?", change_label),
)
PAIR_QUESTION = "Together?"


def window(source: Source, random: np.random.Generator, points: int | None = None) -> np.ndarray:
    """A stretch of 48-96 points, four significant digits.

    Half of the windows are turned round in time or upside down about their mean: most of these
    series only ever rise, and a model must not learn that answer by heart.
    """
    longest = min(LONGEST, len(source.values))
    points = points or int(random.integers(SHORTEST, longest + 1))
    start = int(random.integers(0, len(source.values) - points + 1))
    values = source.values[start : start + points].astype(float)
    turn = random.random()
    if turn < 0.25:
        values = values[::-1]
    elif turn < 0.5:
        values = 2 * values.mean() - values
    return np.array([float(f"{value:.4g}") for value in values])


def row(number: int, pool: list[Source], random: np.random.Generator) -> dict[str, object]:
    """One question about one window, or every fortieth time about two windows of one length."""
    source = pool[int(random.integers(len(pool)))]
    if number % 40 == 39:
        other = pool[int(random.integers(len(pool)))]
        points = int(random.integers(SHORTEST, 65))
        pair = [window(source, random, points), window(other, random, points)]
        question = f"{source.name}: {TS} {other.name}: {TS} {PAIR_QUESTION}"
        answer = together_label(*pair)
        return {
            "input": question,
            "output": answer,
            "timeseries": [values.tolist() for values in pair],
        }
    question, label = QUESTIONS[number % len(QUESTIONS)]
    values = window(source, random)
    return {
        "input": f"{source.name}: {TS} {question}",
        "output": label(values),
        "timeseries": [values.tolist()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--output", type=Path, default=TARGET)
    args = parser.parse_args()
    random = np.random.default_rng(args.seed)
    pool = sources()
    rows = [row(number, pool, random) for number in range(args.rows)]
    order = random.permutation(len(rows))
    lines = [json.dumps(rows[index], separators=(",", ":")) for index in order]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text("\n".join(lines) + "\n")
    print(f"{len(rows)} rows, {args.output.stat().st_size / 1e6:.2f} MB, {args.output}")


if __name__ == "__main__":
    main()
