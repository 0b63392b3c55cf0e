"""Exports of every case, the rows that trainers make of them, and how these differ from ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.reliability.trainer_rows.forms import CUTOFF
from memory_models.settings import changed
from tests.support.golden import case
from tests.support.parser_environments import ROOT, environment
from tsplanner.datasets.records import DroppedRow
from tsplanner.datasets.tokens.reading import RowReader
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.registry import EXPORTERS, render
from tsplanner.planner.plan import Plan

TRAINERS = ("trl", "llamafactory", "axolotl")
READERS = ROOT / "tests" / "exporters" / "readers"
Row = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids and labels."""
Rows = list[Row] | str
"""Rows, or the words in which they were refused."""


class Case(NamedTuple):
    """Rows of one form for a model with one template under one trainer."""

    trainer: str
    template: str
    form: str


def packages() -> dict[str, Path]:
    """Folders of the packages that ship templates, by trainer; raises SystemExit without them."""
    found = {}
    for name in ("trl", "axolotl"):
        python = environment(name)
        if isinstance(python, str):
            raise SystemExit(python)
        (found[name],) = (python.parents[1] / "lib").glob("python*/site-packages")
    return found


def plan_of(model: Path, dataset: Path, rows: int) -> Plan:
    """A LoRA plan for one GPU with these rows, of which none is held out."""
    base = case("qwen2.5-0.5b").plan
    return replace(
        base,
        # No family of LLaMA-Factory's table, so that the template of the folder decides.
        model=replace(
            base.model,
            path=str(model),
            has_weights=True,
            architecture=changed(base.model.architecture, model_type="smollm3"),
        ),
        dataset=changed(
            base.dataset, name="rows", path=str(dataset), rows_kept=rows, on_bad_rows="drop"
        ),
        learning=changed(base.learning, cutoff_len=CUTOFF, validation_fraction=0.0),
    )


def export(trainer: str, plan: Plan, folder: Path, options: ExportOptions) -> str | None:
    """Write the export of a plan; returns why it was refused, or None."""
    exporter = EXPORTERS[trainer]
    assert exporter.rows is not None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        files = render(trainer, plan, options)
        exporter.rows(plan, folder, options.rows)
    except TsplannerError as error:
        return str(error)
    for file in files:
        (folder / file.name).write_text(file.text, encoding="utf-8")
    return None


def read(trainer: str, folders: Iterable[Path]) -> dict[str, Any]:
    """What a trainer's own data code makes of the exports, by folder."""
    python = environment(trainer)
    if isinstance(python, str):
        raise SystemExit(python)
    done = subprocess.run(
        [str(python), str(READERS / f"rows_{trainer}.py")],
        check=False,
        input="\n".join(map(str, folders)),
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ROWS ")]
    if done.returncode:
        sys.exit(f"{trainer}: {done.stderr[-2000:]}")
    return dict(json.loads(line.removeprefix("ROWS ")) for line in lines)


def ours(plan: Plan) -> Rows:
    """The rows as our worker trains on them, by transformers' tokenizer; or why it refuses them."""
    from transformers import AutoTokenizer

    from tsplanner.training.data import read_job, stored_rows

    assert plan.model.path is not None
    tokenizer = AutoTokenizer.from_pretrained(plan.model.path)
    try:
        rows = stored_rows(plan, tokenizer, None)
    except TsplannerError as error:
        reader = RowReader(read_job(plan, None))
        found = reader.rows(reader.raw.rows())
        reasons = {row.reason for row in found if isinstance(row, DroppedRow)}
        return "; ".join(reasons) or str(error)
    return [(tuple(map(int, row.input_ids)), tuple(map(int, row.labels))) for row in rows[:]]


def theirs(answer: dict[str, Any]) -> Rows:
    """The rows of a trainer, or why it refuses them."""
    if "error" in answer:
        return str(answer["error"])
    return [(tuple(row["input_ids"]), tuple(row["labels"])) for row in answer["train"]]


def outcome(mine: Rows, found: Rows) -> str:
    """``equal``, or what differs; axolotl shuffles the rows, so their order says nothing.

    ``found`` may hold rows of other forms, too.
    """
    if isinstance(mine, str):
        return "refused here"
    if isinstance(found, str):
        return "refused"
    if not Counter(mine) - Counter(found):
        return "equal"
    if len(found) < len(mine):
        return f"rows {len(found)}/{len(mine)}"
    if not Counter(ids for ids, _ in mine) - Counter(ids for ids, _ in found):
        return "mask"
    return "ids"
