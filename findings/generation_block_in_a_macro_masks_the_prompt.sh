#!/usr/bin/env bash
# {% generation %} inside a Jinja macro or a kept block of a chat template. Date: 2026-11-29
#
# Guess: return_assistant_tokens_mask marks the text of the block wherever the block stands, or says that it
# cannot; templates that write a turn in a macro (gpt-oss, Gemma 4) could get marks in the macro.
#
# Behaviour seen: the block's place is counted from what the template has given out before, and a macro gives
# out nothing until it ends. The mask is shifted to the left by all that the macro wrote before the block: the
# mark of the speaker is learned as part of the answer, and where that is long the answer itself is not
# learned. Nothing is logged. The same holds for {% set %} blocks.
#
# Output seen (exit status 0):
#   python 3.11.7, transformers 5.24.0, jinja2 3.1.6
#   in the loop: <u> one </u> <a> [yes] [</a>]
#   in a macro: <u> one </u> [<a>] [yes] [</a>]
#   in a macro, long heading: <u> one </u> [speaker:] the assistant yes </a>
#   in a set block: <u> one </u> [<a>] [yes] [</a>]
#
# Needs a pip index; no torch, no GPU and no model download.
# Exits 0 only if all four behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TRANSFORMERS_NO_ADVISORY_WARNINGS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "transformers==5.24.0" "jinja2==3.1.6" "tokenizers==0.23.3" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys
import jinja2, transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORDS = ["[UNK]", "<a>", "</a>", "<u>", "</u>", "one", "yes", "speaker:", "the", "assistant"]
library = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=library, unk_token="[UNK]")

def turn(heading):
    return ("{% if m.role == 'assistant' %}" + heading + " {% generation %}{{ m.content }} </a> {% endgeneration %}"
            "{% else %}<u> {{ m.content }} </u> {% endif %}")

def in_macro(heading):
    return "{% macro said(m) %}" + turn(heading) + "{% endmacro %}{% for m in messages %}{{ said(m) }}{% endfor %}"

TEMPLATES = {
    "in the loop": "{% for m in messages %}" + turn("<a>") + "{% endfor %}",
    "in a macro": in_macro("<a>"),
    "in a macro, long heading": in_macro("speaker: the assistant"),
    "in a set block": "{% for m in messages %}{% set t %}" + turn("<a>") + "{% endset %}{{ t }}{% endfor %}",
}
ROW = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "yes"}]

def masked(template):
    found = tokenizer.apply_chat_template(ROW, chat_template=template, tokenize=True, return_dict=True,
                                          return_assistant_tokens_mask=True)
    words = tokenizer.convert_ids_to_tokens(found["input_ids"])
    return " ".join(f"[{word}]" if mask else word for word, mask in zip(words, found["assistant_masks"]))

print(f"python {platform.python_version()}, transformers {transformers.__version__}, jinja2 {jinja2.__version__}")
seen = [f"{name}: {masked(template)}" for name, template in TEMPLATES.items()]
print("\n".join(seen))
sys.exit(seen != [
    "in the loop: <u> one </u> <a> [yes] [</a>]",
    "in a macro: <u> one </u> [<a>] [yes] [</a>]",
    "in a macro, long heading: <u> one </u> [speaker:] the assistant yes </a>",
    "in a set block: <u> one </u> [<a>] [yes] [</a>]",
])
PYTHON
"$work/venv/bin/python" "$work/check.py"
