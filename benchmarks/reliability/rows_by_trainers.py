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
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.reliability.trainer_rows.cases import (  # noqa: E402
    TRAINERS,
    Case,
    Rows,
    export,
    known_template,
    ours,
    outcome,
    packages,
    plan_of,
    read,
    theirs,
)
from benchmarks.reliability.trainer_rows.forms import FORMS  # noqa: E402
from benchmarks.reliability.trainer_rows.templates import TEMPLATES, write_model  # noqa: E402
from tsplanner.exporters.launch import ExportOptions  # noqa: E402
from tsplanner.exporters.rows.form import RowsAs  # noqa: E402
from tsplanner.planner.plan import Plan  # noqa: E402


class Outcome(NamedTuple):
    """Whether a trainer learns the same from the rows of a case, with both sides."""

    word: str
    mine: Rows
    theirs: Rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=RowsAs, default=RowsAs.TOKENS)
    parser.add_argument("--templates", type=lambda text: text.split(","), default=list(TEMPLATES))
    parser.add_argument("--trainers", type=lambda text: text.split(","), default=list(TRAINERS))
    parser.add_argument("--named", action="store_true", help="LLaMA-Factory's named templates")
    parser.add_argument("--json", type=Path, help="file for every outcome with its rows")
    parser.add_argument("--keep", type=Path, help="folder to work in")
    found = parser.parse_args()
    work = found.keep or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    try:
        table = outcomes(work, found)
    finally:
        if found.keep is None:
            shutil.rmtree(work)
    show(table)
    if found.json:
        found.json.write_text(json.dumps([[*case, *rest] for case, rest in table.items()]))


def outcomes(work: Path, asked: argparse.Namespace) -> dict[Case, Outcome]:
    """Rows of token ids are read a template at a time; of dialogues one row spoils all others."""
    where = packages()
    groups = [tuple(FORMS)] if asked.rows is RowsAs.TOKENS else [(form,) for form in FORMS]
    exports: dict[Path, tuple[str, str, tuple[str, ...]]] = {}
    mine: dict[tuple[str, str], Rows] = {}
    table: dict[Case, Outcome] = {}
    for template in asked.templates:
        model = write_model(TEMPLATES[template], work / "models" / template, where)
        for form in FORMS:
            mine[template, form] = ours(plan_for(work, model, (form,)))
        for number, forms in enumerate(groups):
            plan = plan_for(work, model, forms)
            for trainer in asked.trainers:
                named = known_template(template) if asked.named else None
                options = ExportOptions(
                    rows=asked.rows, template=named if trainer == "llamafactory" else None
                )
                folder = work / "exports" / trainer / template / str(number)
                if (reason := export(trainer, plan, folder, options)) is None:
                    exports[folder] = (trainer, template, forms)
                    continue
                for form in forms:
                    case = Case(trainer, template, form)
                    table[case] = Outcome("not exported", mine[template, form], reason)
    for trainer in asked.trainers:
        own = [folder for folder, case in exports.items() if case[0] == trainer]
        for name, answer in read(trainer, own).items():
            _, template, forms = exports[Path(name)]
            rows = theirs(answer)
            for form in forms:
                expected = mine[template, form]
                table[Case(trainer, template, form)] = Outcome(
                    outcome(expected, rows), expected, rows
                )
    return table


def plan_for(work: Path, model: Path, forms: tuple[str, ...]) -> Plan:
    """A plan on the rows of some forms, one after another."""
    places = [list(FORMS).index(form) for form in forms]
    dataset = work / "datasets" / f"{places[0]}-{len(places)}.jsonl"
    dataset.parent.mkdir(exist_ok=True)
    rows = [row for form in forms for row in FORMS[form]]
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return plan_of(model, dataset, len(rows))


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
