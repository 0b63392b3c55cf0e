#!/usr/bin/env bash
# The forward of Llama 4 as published, tower included. Date: 2026-11-29
#
# Guess: Llama4ForConditionalGeneration computes logits of a row of text, as the other 20 vision-language
# classes that we tried do. Our worker was written on that guess, and crashed.
#
# Behaviour seen: every forward raises, after all layers have run: the class reads image_outputs of the
# output of its language model, which is a plain causal model and has no such field. The language model
# inside it (get_decoder()) works, head and loss included. The code of 5.17 does not read the field (read, not run).
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, transformers 5.24.0
#   whole model: AttributeError: 'MoeCausalLMOutputWithPast' object has no attribute 'image_outputs'
#   its language model: logits of (1, 8, 64)
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if both behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys
import torch, transformers
from transformers import AutoConfig, AutoModelForImageTextToText

transformers.logging.set_verbosity_error()
config = AutoConfig.for_model(
    "llama4",
    text_config=dict(hidden_size=32, intermediate_size=64, intermediate_size_mlp=64, num_hidden_layers=2,
                     num_attention_heads=4, num_key_value_heads=2, head_dim=8, vocab_size=64, num_local_experts=2,
                     num_experts_per_tok=1, attention_chunk_size=16),
    vision_config=dict(hidden_size=16, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
                       image_size=28, patch_size=14, vision_output_dim=32, projector_input_dim=32,
                       projector_output_dim=32))
model = AutoModelForImageTextToText.from_config(config).eval()

def outcome(name, module):
    try:
        with torch.no_grad():
            return f"{name}: logits of {tuple(module(input_ids=torch.arange(8)[None]).logits.shape)}"
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"

print(f"python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}")
seen = [outcome("whole model", model), outcome("its language model", model.get_decoder())]
print("\n".join(seen))
sys.exit(seen != [
    "whole model: AttributeError: 'MoeCausalLMOutputWithPast' object has no attribute 'image_outputs'",
    "its language model: logits of (1, 8, 64)",
])
PYTHON
"$work/venv/bin/python" "$work/check.py"
