"""Write rows/train.jsonl and rows/test.jsonl: dialogues, learned by their end."""

import json
import random
from pathlib import Path

SOURCE = '/data/alerts.jsonl'
SHAPE = 'prompt-completion'  # "messages", or "prompt-completion"
HELD_OUT, SEED = 41, 42
ROLES = {"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool"}


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
        return [*found, ("user", "\n".join(question)), ("assistant", row["output"])]
    for turn in turns:
        role = turn.get("from", turn.get("role"))
        found.append((ROLES.get(role, role), turn.get("value", turn.get("content"))))
    while found and found[-1][0] != "assistant":
        found.pop()
    return found


def shaped(turns):
    """The row as the trainer wants it."""
    said = [{"role": role, "content": content} for role, content in turns]
    if SHAPE == "prompt-completion":
        return {"prompt": said[:-1], "completion": said[-1:]}
    return {"messages": [{**turn, "train": turn is said[-1]} for turn in said]}


def main():
    """Split as planned, write both files."""
    found = [shaped(turns) for turns in map(dialogue, rows()) if len(turns) > 1]
    held_out = set(random.Random(SEED).sample(range(len(found)), min(HELD_OUT, len(found) - 1)))
    folder = Path(__file__).resolve().parent / "rows"
    folder.mkdir(exist_ok=True)
    files = {"train.jsonl": [], "test.jsonl": []}
    for place, row in enumerate(found):
        files["test.jsonl" if place in held_out else "train.jsonl"].append(row)
    for name, some in files.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some)
        if some:
            (folder / name).write_text(lines, encoding="utf-8")


main()
