"""Write configs/datasets/series/sunspots.csv from the data set that statsmodels ships.

    python3 benchmarks/collect/sample_dataset/series.py

Needs statsmodels. The data is public domain, as its COPYRIGHT string says.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import statsmodels.api as sm

REPOSITORY = Path(__file__).resolve().parents[3]
TARGET = REPOSITORY / "configs" / "datasets" / "series" / "sunspots.csv"


def text() -> str:
    """The table: a year and its sunspot number a line."""
    data = sm.datasets.sunspots.load_pandas().data
    rows = zip(data["YEAR"].astype(int), data["SUNACTIVITY"], strict=True)
    return "year,sunspots\n" + "".join(f"{year},{value}\n" for year, value in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, default=TARGET)
    args = parser.parse_args()
    args.output.write_text(text())
    print(args.output)


if __name__ == "__main__":
    main()
