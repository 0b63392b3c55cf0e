"""The same rows under our worker, TRL, LLaMA-Factory and axolotl, each by its own code.

    python benchmarks/reliability/rows_by_trainers.py [--rows tokens|messages] [--templates a,b]

Every template x every form of rows is exported for every trainer; each trainer's own data code
reads its export, and ids and labels are held against those of our worker.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.reliability.trainer_rows.cases import TRAINERS, Case  # noqa: E402
from benchmarks.reliability.trainer_rows.forms import FORMS  # noqa: E402
from benchmarks.reliability.trainer_rows.outcomes import Outcome, outcomes  # noqa: E402
from benchmarks.reliability.trainer_rows.templates import TEMPLATES  # noqa: E402
from tsplanner.exporters.rows.form import RowsAs  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=RowsAs, default=RowsAs.TOKENS)
    parser.add_argument("--templates", type=lambda text: text.split(","), default=list(TEMPLATES))
    parser.add_argument("--trainers", type=lambda text: text.split(","), default=list(TRAINERS))
    parser.add_argument("--parsed", action="store_true", help="no named template of LLaMA-Factory")
    parser.add_argument("--json", type=Path, help="file for every outcome with its rows")
    parser.add_argument("--keep", type=Path, help="folder to work in")
    found = parser.parse_args()
    work = found.keep or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    cases = [Case(*each) for each in product(found.trainers, found.templates, FORMS)]
    try:
        table = outcomes(work, cases, found.rows, named=not found.parsed)
    finally:
        if found.keep is None:
            shutil.rmtree(work)
    show(table)
    if found.json:
        found.json.write_text(json.dumps([[*case, *rest] for case, rest in table.items()]))


def show(table: dict[Case, Outcome]) -> None:
    for trainer in sorted({case.trainer for case in table}):
        print(
            trainer,
            dict(Counter(rest[0] for case, rest in table.items() if case.trainer == trainer)),
        )
    for case, (word, mine, rows) in table.items():
        if word != "equal":
            said = rows if isinstance(rows, str) else mine if isinstance(mine, str) else ""
            print(f"{case.trainer:13}{case.template:22}{case.form:38}{word:10}{said[:120]}")


if __name__ == "__main__":
    main()
