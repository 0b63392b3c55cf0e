#!/usr/bin/env bash
# A tokenizer.json in a folder whose config.json says qwen2. Date: 2026-11-29
#
# Guess: tokenizer.json decides how a text is cut, and a tokenizer_config.json that names
# PreTrainedTokenizerFast asks for nothing else. Every release of transformers gives the ids of the library
# tokenizers. Our export of token ids was written on that guess; its rows differed from the trained ones.
#
# Behaviour seen: transformers 5.6.0 keeps the guess. From 5.16.1 on (5.24.0, too) the model_type of the
# config.json beside it wins: "qwen2" gives Qwen2Tokenizer, which takes vocabulary and merges from
# tokenizer.json and puts a pre-tokenizer of its own in place of the one that stands there. No warning.
# "qwen3" and "llama" keep the file's. So the same folder trains on other ids under two releases, and one
# release treats Qwen2 and Qwen3 folders differently. Way out: Tokenizer.from_file, or
# PreTrainedTokenizerFast.from_pretrained instead of AutoTokenizer.
#
# Output seen (exit status 0):
#   transformers 5.6.0: qwen2 TokenizersBackend as the file, qwen3 TokenizersBackend as the file
#   transformers 5.24.0: qwen2 Qwen2Tokenizer other ids, qwen3 TokenizersBackend as the file
#
# Needs a pip index; no torch, no GPU and no model download.
# Exits 0 only if both releases behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1
cat >"$work/check.py" <<'PYTHON'
import json, sys, tempfile
from pathlib import Path
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

def outcome(model_type):
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>"}))
    made.save(str(folder / "tokenizer.json"))
    found = AutoTokenizer.from_pretrained(folder)
    same = found(TEXT, add_special_tokens=False)["input_ids"] == made.encode(TEXT).ids
    return f"{model_type} {type(found).__name__} {'as the file' if same else 'other ids'}"

TEXT = "room 101, floor 12"
made = Tokenizer(models.BPE())
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # GPT-2's: numbers stay whole
made.train_from_iterator([TEXT] * 9, trainers.BpeTrainer(
    vocab_size=400, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
print(f"transformers {transformers.__version__}: {outcome('qwen2')}, {outcome('qwen3')}")
PYTHON
for pins in "transformers==5.6.0 tokenizers==0.22.2" "transformers==5.24.0 tokenizers==0.23.3"; do
    folder="$work/$(tr -c 'a-z0-9' '-' <<<"$pins")"
    python3 -m venv "$folder"
    # shellcheck disable=SC2086 # two words
    "$folder/bin/pip" install -qq $pins "numpy==2.4.6"
    "$folder/bin/python" "$work/check.py" "$work" 2>/dev/null | grep "^transformers"
done | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
transformers 5.6.0: qwen2 TokenizersBackend as the file, qwen3 TokenizersBackend as the file
transformers 5.24.0: qwen2 Qwen2Tokenizer other ids, qwen3 TokenizersBackend as the file
SEEN
