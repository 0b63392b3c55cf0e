#!/usr/bin/env bash
# load_dataset of a folder that is not there, where another folder of that name was read before.
# Date: 2026-11-29
#
# Guess: load_dataset("rows") in a folder without rows/ raises. Our test of a trainer's script was meant to
# fail when the rows were left out; it passed.
#
# Behaviour seen: a run in another working folder, which had rows/, left its rows in the cache under the bare
# name. Where rows/ is missing and the hub has no answer, those rows are loaded: another project's data, for
# "trl sft" with dataset_name: rows as for anything else, with one line among the warnings that calls them the
# latest cached version. "./rows" and a whole path raise instead. A folder that is there is never mixed up.
#
# Output seen (exit status 0):
#   datasets 5.2.0
#   rows: ['of the first project']
#   ./rows: ConnectionError
#   /.../second/rows: FileNotFoundError
#
# Needs a pip index; no GPU and no download of data.
# Exits 0 only if the three names behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "datasets==5.2.0" "pyarrow==26.0.1"
cat >"$work/check.py" <<'PYTHON'
import json, os, sys
from pathlib import Path
import datasets

first, second = Path(sys.argv[1], "first"), Path(sys.argv[1], "second")
(first / "rows").mkdir(parents=True)
second.mkdir()
(first / "rows" / "train.jsonl").write_text(json.dumps({"text": "of the first project"}) + "\n")
os.chdir(first)
datasets.load_dataset("rows", split="train")
os.chdir(second)

def outcome(name):
    try:
        return str(datasets.load_dataset(name, split="train")["text"][:])
    except Exception as error:
        return type(error).__name__

print(f"datasets {datasets.__version__}")
seen = [outcome(name) for name in ("rows", "./rows", str(second / "rows"))]
for name, found in zip(("rows", "./rows", "/.../second/rows"), seen):
    print(f"{name}: {found}")
sys.exit(seen != ["['of the first project']", "ConnectionError", "FileNotFoundError"])
PYTHON
"$work/venv/bin/python" "$work/check.py" "$work" 2>/dev/null
