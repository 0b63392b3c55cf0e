"""Cases exported, read by their trainers, and held against the rows of our worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.reliability.trainer_rows.cases import (
    Case,
    Rows,
    export,
    ours,
    outcome,
    packages,
    plan_of,
    read,
    theirs,
)
from benchmarks.reliability.trainer_rows.forms import FORMS
from benchmarks.reliability.trainer_rows.templates import TEMPLATES, write_model
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.rows.form import RowsAs
from tsplanner.planner.plan import Plan


class Outcome(NamedTuple):
    """Whether a trainer learns the same from the rows of a case, with both sides."""

    word: str
    mine: Rows
    theirs: Rows


def outcomes(
    work: Path, cases: Sequence[Case], rows_as: RowsAs, *, named: bool
) -> dict[Case, Outcome]:
    """Every case with its outcome; ``named``: LLaMA-Factory renders by its template of the family.

    Rows of token ids are read a template at a time; of dialogues one row would spoil all others.
    """
    named = named and rows_as is RowsAs.MESSAGES
    where = packages()
    templates = dict.fromkeys(case.template for case in cases)
    models = {
        name: write_model(TEMPLATES[name], work / "models" / name, where) for name in templates
    }
    pairs = dict.fromkeys((case.template, case.form) for case in cases)
    mine = {
        (template, form): ours(plan_for(work, models[template], (form,)))
        for template, form in pairs
    }
    table: dict[Case, Outcome] = {}
    exports: dict[Path, tuple[Case, ...]] = {}
    for number, group in enumerate(_groups(cases, rows_as)):
        (trainer, template, _), forms = group[0], tuple(case.form for case in group)
        own = TEMPLATES[template].llamafactory if named and trainer == "llamafactory" else None
        folder = work / "exports" / str(number)
        plan = plan_for(work, models[template], forms)
        reason = export(trainer, plan, folder, ExportOptions(rows=rows_as, template=own))
        if reason is None:
            exports[folder] = group
        else:
            for case in group:
                table[case] = Outcome("not exported", mine[template, case.form], reason)
    for trainer in dict.fromkeys(case.trainer for case in cases):
        folders = [folder for folder, group in exports.items() if group[0].trainer == trainer]
        for name, answer in read(trainer, folders).items():
            rows = theirs(answer)
            for case in exports[Path(name)]:
                expected = mine[case.template, case.form]
                table[case] = Outcome(outcome(expected, rows), expected, rows)
    return table


def _groups(cases: Sequence[Case], rows_as: RowsAs) -> list[tuple[Case, ...]]:
    if rows_as is RowsAs.MESSAGES:
        return [(case,) for case in cases]
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.trainer, case.template), []).append(case)
    return [tuple(group) for group in groups.values()]


def plan_for(work: Path, model: Path, forms: tuple[str, ...]) -> Plan:
    """A plan on the rows of some forms, one after another."""
    places = [list(FORMS).index(form) for form in forms]
    dataset = work / "datasets" / f"{places[0]}-{len(places)}.jsonl"
    dataset.parent.mkdir(exist_ok=True)
    rows = [row for form in forms for row in FORMS[form]]
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return plan_of(model, dataset, len(rows))
