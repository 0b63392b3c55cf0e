#!/usr/bin/env bash
# The system text of training rows under Mistral's chat template of version 3. Date: 2026-11-29
#
# Guess: a template that takes a system message writes it into the first question, in a row to train on as in
# a prompt; at worst it refuses the role. Mistral's of version 1 does so.
#
# Behaviour seen: the templates of version 2/3 and of version 3 with Tekken, as axolotl ships them, write the
# system text before the last message, and only if that message is a question. A row to train on ends with an
# answer: its system text vanishes, in every row, without a word, while every prompt of the trained model has
# it. The adapter never learns to follow one.
#
# Output seen (exit status 0):
#   python 3.11.7, transformers 5.24.0, axolotl 0.19.0
#   mistral_v1: prompt has the system text, training row has the system text
#   mistral_v2v3: prompt has the system text, training row lacks the system text
#   mistral_v3_tekken: prompt has the system text, training row lacks the system text
#
# Needs a pip index; no torch, no GPU and no model download. axolotl's wheel is only unpacked.
# Exits 0 only if all three behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TRANSFORMERS_NO_ADVISORY_WARNINGS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "transformers==5.24.0" "jinja2==3.1.6" "tokenizers==0.23.3" "numpy==2.4.6"
"$work/venv/bin/pip" download -qq --no-deps --only-binary=:all: -d "$work" "axolotl==0.19.0"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, zipfile
from pathlib import Path
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

wheel = next(Path(sys.argv[1]).glob("axolotl-*.whl"))
library = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=library, bos_token="<s>", eos_token="</s>")
PROMPT = [{"role": "system", "content": "Answer in German."}, {"role": "user", "content": "Is the valve open?"}]
ROW = [*PROMPT, {"role": "assistant", "content": "Ja."}]

def outcome(name):
    with zipfile.ZipFile(wheel) as archive:
        template = archive.read(f"axolotl/utils/chat_templates/templates/{name}.jinja").decode()
    found = []
    for kind, messages in (("prompt", PROMPT), ("training row", ROW)):
        text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
        found.append(f"{kind} {'has' if 'Answer in German.' in text else 'lacks'} the system text")
    return f"{name}: {', '.join(found)}"

print(f"python {platform.python_version()}, transformers {transformers.__version__}, axolotl {wheel.name.split('-')[1]}")
seen = [outcome(name) for name in ("mistral_v1", "mistral_v2v3", "mistral_v3_tekken")]
print("\n".join(seen))
sys.exit(seen != [
    "mistral_v1: prompt has the system text, training row has the system text",
    "mistral_v2v3: prompt has the system text, training row lacks the system text",
    "mistral_v3_tekken: prompt has the system text, training row lacks the system text",
])
PYTHON
"$work/venv/bin/python" "$work/check.py" "$work"
