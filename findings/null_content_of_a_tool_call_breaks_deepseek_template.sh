#!/usr/bin/env bash
# A tool call with "content": null, as OpenAI's API returns it, under DeepSeek-V3's template. Date: 2026-11-29
#
# Guess: it renders as with an empty text; transformers 5.24 leaves out keys that are null so that templates
# do not write the word None, and DeepSeek's template has a branch for a content that is none.
#
# Behaviour seen: that branch is what breaks. Without its key the content is undefined, which in Jinja is not
# none: the other branch adds it to a text, and the row raises UndefinedError. With "content": "" the row
# renders as the branch for none would write it. The template wants the arguments as text besides; as the
# object that transformers' documentation asks for they raise TypeError. Llama 3.1 takes all of these.
#
# Output seen (exit status 0):
#   python 3.11.7, transformers 5.24.0, trl 1.16.0
#   deepseekv3: null: UndefinedError, empty: renders, empty and arguments as object: TypeError
#   llama3_1: null: renders, empty: renders, empty and arguments as object: renders
#
# Needs a pip index; no torch, no GPU and no model download. TRL's wheel is only unpacked.
# Exits 0 only if both behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TRANSFORMERS_NO_ADVISORY_WARNINGS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "transformers==5.24.0" "jinja2==3.1.6" "tokenizers==0.23.3" "numpy==2.4.6"
"$work/venv/bin/pip" download -qq --no-deps --only-binary=:all: -d "$work" "trl==1.16.0"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, zipfile
from pathlib import Path
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

wheel = next(Path(sys.argv[1]).glob("trl-*.whl"))
library = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=library, bos_token="<s>", eos_token="</s>")

def outcome(template, content, arguments):
    call = {"id": "call00001", "type": "function", "function": {"name": "valve", "arguments": arguments}}
    row = [{"role": "user", "content": "Open it."},
           {"role": "assistant", "content": content, "tool_calls": [call]},
           {"role": "tool", "tool_call_id": "call00001", "content": "opened"},
           {"role": "assistant", "content": "It is open."}]
    try:
        text = tokenizer.apply_chat_template(row, chat_template=template, tokenize=False)
    except Exception as error:
        return type(error).__name__
    return "renders" if "valve" in text else "renders without the call"

def outcomes(name):
    with zipfile.ZipFile(wheel) as archive:
        template = archive.read(f"trl/chat_templates/{name}.jinja").decode()
    text = '{"id": 7}'
    return (f"{name}: null: {outcome(template, None, text)}, empty: {outcome(template, '', text)}, "
            f"empty and arguments as object: {outcome(template, '', {'id': 7})}")

print(f"python {platform.python_version()}, transformers {transformers.__version__}, trl {wheel.name.split('-')[1]}")
seen = [outcomes(name) for name in ("deepseekv3", "llama3_1")]
print("\n".join(seen))
sys.exit(seen != [
    "deepseekv3: null: UndefinedError, empty: renders, empty and arguments as object: TypeError",
    "llama3_1: null: renders, empty: renders, empty and arguments as object: renders",
])
PYTHON
"$work/venv/bin/python" "$work/check.py" "$work"
