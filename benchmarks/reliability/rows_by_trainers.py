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

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.reliability.trainer_rows.cases import (  # noqa: E402
    TRAINERS,
    Case,
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
from tsplanner.exporters.rows.form import RowsAs  # noqa: E402


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


def outcomes(work: Path, asked: argparse.Namespace) -> dict[Case, tuple[str, object, object]]:
    where, folders, mine, refused = packages(), {}, {}, {}
    for template in asked.templates:
        model = write_model(TEMPLATES[template], work / "models" / template, where)
        for number, (form, rows) in enumerate(FORMS.items()):
            dataset = work / "datasets" / f"{number}.jsonl"
            dataset.parent.mkdir(exist_ok=True)
            dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
            plan = plan_of(model, dataset, len(rows))
            mine[template, form] = ours(plan)
            for trainer in asked.trainers:
                case = Case(trainer, template, form, asked.rows)
                folder = work / "exports" / trainer / template / str(number)
                folder.mkdir(parents=True, exist_ok=True)
                name = known_template(template) if asked.named else None
                reason = export(case, plan, folder, name if trainer == "llamafactory" else None)
                if reason is None:
                    folders[case] = folder
                else:
                    refused[case] = reason
    table: dict[Case, tuple[str, object, object]] = {}
    for trainer in asked.trainers:
        own = {case: folder for case, folder in folders.items() if case.trainer == trainer}
        answers = read(trainer, own.values())
        for case, folder in own.items():
            rows = theirs(answers[str(folder)])
            expected = mine[case.template, case.form]
            table[case] = outcome(expected, rows), expected, rows
    for case, reason in refused.items():
        table[case] = "not exported", mine[case.template, case.form], reason
    return table


def show(table: dict[Case, tuple[str, object, object]]) -> None:
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
