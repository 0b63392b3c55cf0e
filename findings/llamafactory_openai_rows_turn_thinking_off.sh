#!/usr/bin/env bash
# Rows of messages under LLaMA-Factory's two names for that form. Date: 2026-11-29
#
# Guess: `formatting: openai` and `formatting: sharegpt` in dataset_info.json differ in what they read
# (tool calls, several answers of tools), and a plain dialogue gives the same rows under both.
#
# Behaviour seen: under "openai" every row without tools gets the system text "detailed thinking off" if it
# has none, and the line "detailed thinking off" after its own. That is a switch of one family of models
# (Nemotron), applied to rows for any model and any template, without a warning and without a key that turns
# it off. Under "sharegpt" the same rows stay as they are. Way out: sharegpt with the tags role and content.
#
# Output seen (exit status 0):
#   llamafactory 0.9.5, datasets 4.0.0
#   sharegpt: ['', 'Be short.']
#   openai: ['detailed thinking off', 'Be short.\ndetailed thinking off']
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if both forms behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.6.0" "datasets==4.0.0" \
    "accelerate==1.11.0" "peft==0.18.1" "omegaconf==2.4.0" "numpy==2.4.6"
"$work/venv/bin/pip" install -qq --no-deps "llamafactory==0.9.5" "trl==0.24.0"
cat >"$work/check.py" <<'PYTHON'
import importlib.metadata, sys, types
from pathlib import Path
import datasets, llamafactory
from datasets import Dataset

# The package around the converter imports readers of sound and film; the converter needs none of them.
package = types.ModuleType("llamafactory.data")
package.__path__ = [str(Path(llamafactory.__file__).parent / "data")]
sys.modules["llamafactory.data"] = package
from llamafactory.data.converter import align_dataset
from llamafactory.data.parser import DatasetAttr
from llamafactory.hparams.data_args import DataArguments

asked = [{"role": "user", "content": "Who is there?"}, {"role": "assistant", "content": "I."}]
rows = [{"messages": asked}, {"messages": [{"role": "system", "content": "Be short."}, *asked]}]

def systems(formatting):
    form = DatasetAttr("file", "rows", formatting=formatting)
    form.join({
        "formatting": formatting,
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user",
                 "assistant_tag": "assistant", "system_tag": "system"},
    })
    told = types.SimpleNamespace(local_process_index=0)
    found = align_dataset(Dataset.from_list(rows), form, DataArguments(dataset_dir="."), told)
    return [row["_system"] for row in found]

print(f"llamafactory {importlib.metadata.version('llamafactory')}, datasets {datasets.__version__}")
seen = {name: systems(name) for name in ("sharegpt", "openai")}
for name, found in seen.items():
    print(f"{name}: {found}")
sys.exit(seen != {
    "sharegpt": ["", "Be short."],
    "openai": ["detailed thinking off", "Be short.\ndetailed thinking off"],
})
PYTHON
"$work/venv/bin/python" "$work/check.py" 2>/dev/null
