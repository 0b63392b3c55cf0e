"""prepare.py: a script without dependencies that turns rows into dialogues and splits them.

axolotl and TRL read neither alpaca's nor ChatTS's columns as a chat. For a dataset without bad rows
the script holds out the same rows as our own worker.
"""

from __future__ import annotations

from memory_models.architecture import Architecture
from tsplanner.errors import TsplannerError
from tsplanner.exporters import trainers
from tsplanner.exporters.launch import ExportFile, ExportOptions
from tsplanner.planner.plan import Plan

FILE = "prepare.py"
FOLDER = "rows"
# The draw of the held-out rows repeats `split` of training/data.py; both change together.
SCRIPT = '''"""Write rows/train.jsonl and rows/test.jsonl: dialogues, learned by their end."""

import json
import random
from pathlib import Path

SOURCE = {source!r}
SHAPE = {shape!r}  # "messages", or "prompt-completion"
HELD_OUT, SEED = {held_out}, {seed}
ROLES = {{"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool"}}


def rows():
    """Every row of the dataset: a JSON array, or an object a line."""
    text = Path(SOURCE).read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def dialogue(row):
    """Its turns, up to the last answer."""
    found = []
    if row.get("system"):
        found.append(("system", row["system"]))
    turns = row.get("conversations") or row.get("messages")
    if turns is None:
        question = [row[name] for name in ("instruction", "input") if row.get(name)]
        return [*found, ("user", "\\n".join(question)), ("assistant", row["output"])]
    for turn in turns:
        role = turn.get("from", turn.get("role"))
        found.append((ROLES.get(role, role), turn.get("value", turn.get("content"))))
    while found and found[-1][0] != "assistant":
        found.pop()
    return found


def shaped(turns):
    """The row as the trainer wants it."""
    said = [{{"role": role, "content": content}} for role, content in turns]
    if SHAPE == "prompt-completion":
        return {{"prompt": said[:-1], "completion": said[-1:]}}
    return {{"messages": [{{**turn, "train": turn is said[-1]}} for turn in said]}}


def main():
    """Split as planned, write both files."""
    found = [shaped(turns) for turns in map(dialogue, rows()) if len(turns) > 1]
    held_out = set(random.Random(SEED).sample(range(len(found)), min(HELD_OUT, len(found) - 1)))
    folder = Path(__file__).resolve().parent / "rows"
    folder.mkdir(exist_ok=True)
    files = {{"train.jsonl": [], "test.jsonl": []}}
    for place, row in enumerate(found):
        files["test.jsonl" if place in held_out else "train.jsonl"].append(row)
    for name, some in files.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\\n" for row in some)
        if some:
            (folder / name).write_text(lines, encoding="utf-8")


main()
'''


def script(plan: Plan, options: ExportOptions, shape: str) -> ExportFile:
    """The script for a plan's dataset; ``shape``: ``messages`` or ``prompt-completion``.

    Raises:
        TsplannerError: the plan names no dataset.
    """
    text = SCRIPT.format(
        source=trainers.dataset_of(plan),
        shape=shape,
        held_out=trainers.held_out_rows(plan),
        seed=plan.learning.data.split_seed,
    )
    return ExportFile(FILE, text)


def text_only(plan: Plan, trainer: str) -> Architecture:
    """The plan's architecture, if the model reads only text.

    Raises:
        TsplannerError: the model reads series.
    """
    found = trainers.architecture_of(plan)
    if found.encoder is not None:
        raise TsplannerError(
            f"{trainer} does not read time series: export llamafactory, whose ChatTS fork does, or "
            "plan again with a text model."
        )
    return found
