#!/usr/bin/env bash
# The dtype of a folder whose weights bitsandbytes packed. Date: 2026-11-29
#
# Guess: from_pretrained(folder, dtype=float32) casts what is not packed (embedding, norms, head, biases) to
# float32, as it does while it quantises a plain folder itself, and as it does without quantisation.
#
# Behaviour seen: a folder that is stored in 4 or 8 bits is loaded in the dtypes of its files, whatever dtype is
# asked for. The biases of packed linears alone follow the dtype, so one model has both. No warning says so.
# A memory estimate by the dtype that was asked for is wrong by the embedding and the head. Way out: cast the
# parameters that are not packed after loading.
#
# Output seen (exit status 0):
#   torch 2.13.0+cpu, transformers 5.24.0, bitsandbytes 0.50.2
#   quantised while loading: embedding float32, norm float32, bias float32
#   stored quantised:        embedding bfloat16, norm bfloat16, bias float32
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if both ways behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "bitsandbytes==0.50.2" \
  "accelerate==1.15.0" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import sys
import bitsandbytes, torch, transformers
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Qwen2Config

shape = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4,
             num_key_value_heads=4, vocab_size=64, tie_word_embeddings=False)
plain, stored = sys.argv[1] + "/plain", sys.argv[1] + "/stored"
AutoModelForCausalLM.from_config(Qwen2Config(**shape), dtype=torch.bfloat16).save_pretrained(plain)
four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")

def load(folder, dtype, **more):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, device_map={"": "cpu"}, **more)

def dtypes(model):
    layer = model.model.layers[0]
    parts = (model.model.embed_tokens.weight, layer.input_layernorm.weight, layer.self_attn.q_proj.bias)
    return [str(part.dtype).removeprefix("torch.") for part in parts]

load(plain, torch.bfloat16, quantization_config=four).save_pretrained(stored)
print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
      f"bitsandbytes {bitsandbytes.__version__}")
found = []
for words, model in (("quantised while loading:", load(plain, torch.float32, quantization_config=four)),
                     ("stored quantised:       ", load(stored, torch.float32))):
    found.append(dtypes(model))
    embedding, norm, bias = found[-1]
    print(f"{words} embedding {embedding}, norm {norm}, bias {bias}")
sys.exit(found != [["float32"] * 3, ["bfloat16", "bfloat16", "float32"]])
PYTHON
"$work/venv/bin/python" "$work/check.py" "$work" 2>/dev/null
