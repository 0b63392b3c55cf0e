#!/usr/bin/env bash
# LLaMA-Factory without a template's name, for a tokenizer whose template begins with bos_token.
# Date: 2026-11-29
#
# Guess: without `template:` in the YAML LLaMA-Factory parses the tokenizer's own chat template, and a dialogue
# of two exchanges gets the text that the template itself gives. Our exporter leaned on that for models
# without a named template.
#
# Behaviour seen: the parser renders one question alone, takes what comes out as the form of every question,
# and so takes the begin token into it, unless the tokenizer also adds that token to an empty text by itself
# (Llama 3's template writes it; so do Cohere's and Gemma's). Every later question, and the first one after a
# system text, begins with the begin token again. The ids of the same tokenizer's apply_chat_template have it
# once. One exchange without a system text is right, so a first look shows nothing. Way out: name the template.
#
# Output seen (exit status 0):
#   llamafactory 0.9.5, transformers 5.6.0
#   begin tokens in 1 exchange: template 1, LLaMA-Factory 1
#   begin tokens in 3 exchanges: template 1, LLaMA-Factory 3
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if both counts are as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.6.0" "datasets==4.0.0" \
    "accelerate==1.11.0" "peft==0.18.1" "omegaconf==2.4.0" "numpy==2.4.6" "pillow==13.0.0"
"$work/venv/bin/pip" install -qq --no-deps "llamafactory==0.9.5" "trl==0.24.0"
cat >"$work/check.py" <<'PYTHON'
import importlib.machinery, importlib.metadata, sys, types
from pathlib import Path
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

# Readers of sound are imported with the templates; no sound is read here.
sound = types.ModuleType("torchaudio")
sound.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
sys.modules["torchaudio"] = sound
import llamafactory
package = types.ModuleType("llamafactory.data")
package.__path__ = [str(Path(llamafactory.__file__).parent / "data")]
sys.modules["llamafactory.data"] = package
from llamafactory.data.template import parse_template

letters = {"<unk>": 0, "<bos>": 1, "<end>": 2} | {chr(code): code - 29 for code in range(32, 127)}
raw = Tokenizer(models.WordLevel(letters, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<bos>", eos_token="<end>")
tokenizer.chat_template = (
    "{{ bos_token }}{% for m in messages %}{{ m.role + ':' + m.content + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)

def begins(exchanges):
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}] * exchanges
    whole = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    pairs = parse_template(tokenizer).encode_multiturn(tokenizer, turns)
    return whole.count(1), sum((asked + said).count(1) for asked, said in pairs)

print(f"llamafactory {importlib.metadata.version('llamafactory')}, transformers {transformers.__version__}")
seen = [begins(1), begins(3)]
for count, (template, parsed) in zip((1, 3), seen):
    print(f"begin tokens in {count} exchange{'s' if count > 1 else ''}: "
          f"template {template}, LLaMA-Factory {parsed}")
sys.exit(seen != [(1, 1), (1, 3)])
PYTHON
"$work/venv/bin/python" "$work/check.py" 2>/dev/null
