#!/usr/bin/env bash
# Parquet files of chat rows that datasets made of JSON lines, read by other libraries. Date: 2026-11-29
#
# Guess: a file of chat rows in which one content is a list of parts fails to load, because text and list
# are two types; or the texts stay texts and only the one list is written in some other way.
#
# Behaviour seen: it loads, and `to_parquet` writes *every* content of the file as the JSON text of itself:
# pandas and pyarrow read '"Hi"', with the quotes, in rows that have no parts at all, without a warning.
# Likewise one turn with a further field (a weight) makes every turn of the file a JSON text instead of an
# object. Only the type extension<arrow.json> in the schema says so. Whoever trains on such a column by
# another library than datasets teaches quotation marks and escapes.
#
# Output seen (exit status 0):
#   datasets 5.2.0, pandas 3.1.1, pyarrow 26.0.1
#   texts alone: 'Hi'
#   one content in parts: '"Hi"'
#   one turn with a weight: '{"role":"user","content":"Hi"}'
#
# Needs a pip index; no GPU and no model download. Exits 0 only if all three are as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 HF_DATASETS_CACHE="$work/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "datasets==5.2.0" "pandas==3.1.1" "pyarrow==26.0.1"
cat >"$work/check.py" <<'PYTHON'
import json, sys
from pathlib import Path
import datasets, pandas, pyarrow

work = Path(sys.argv[1])

def first(name, last_row):
    """What pandas reads of the first row, which is the same in every file."""
    plain = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}
    rows = [plain, plain, last_row]
    (work / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = datasets.load_dataset("json", data_files=str(work / f"{name}.jsonl"), split="train")
    assert made[0]["messages"][0]["content"] == "Hi"  # datasets itself reads its rows rightly
    made.to_parquet(str(work / f"{name}.parquet"))
    turn = pandas.read_parquet(work / f"{name}.parquet")["messages"][0][0]
    return turn["content"] if isinstance(turn, dict) else turn

answer = {"role": "assistant", "content": "Ho"}
parts = [{"type": "text", "text": "Hi"}]
seen = {
    "texts alone": first("a", {"messages": [{"role": "user", "content": "Hi"}, answer]}),
    "one content in parts": first("b", {"messages": [{"role": "user", "content": parts}, answer]}),
    "one turn with a weight": first(
        "c", {"messages": [{"role": "user", "content": "Hi"}, {**answer, "weight": 0}]}
    ),
}
print(f"datasets {datasets.__version__}, pandas {pandas.__version__}, pyarrow {pyarrow.__version__}")
for name, found in seen.items():
    print(f"{name}: {found!r}")
sys.exit(list(seen.values()) != ["Hi", '"Hi"', '{"role":"user","content":"Hi"}'])
PYTHON
"$work/venv/bin/python" "$work/check.py" "$work" 2>/dev/null
