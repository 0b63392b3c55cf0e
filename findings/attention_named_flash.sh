#!/usr/bin/env bash
# A custom attention function under a name that contains "flash". Date: 2026-11-29
#
# Guess: a registered attention function is used under whatever name it was registered. Our tracing of
# models with flash attention was written on that guess, and failed.
#
# Behaviour seen: the same function runs under a neutral name, once per layer. Under a name with "flash" in
# it the model cannot be built: every name that contains the word counts as flash attention, so a flash
# library is looked for under that name. None is found, and the registered function is never called.
# The error does not say that the name is the cause. Way out: a name without "flash".
#
# Output seen (exit status 0; the last line is broken here into three):
#   python 3.11.7, torch 2.13.0+cpu, transformers 5.24.0
#   plain_attention: 2 calls, eager's logits
#   plain_flash_attention: 0 calls, ValueError: Could not find the currently requested flash attention
#   implementation at `plain_flash_attention`.Make sure that you request a valid kernel from the hub, e.g.
#   `kernels-community/flash-attn2`.
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if both names behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys
import torch, transformers
from transformers import AttentionInterface, AutoModelForCausalLM, Qwen2Config

calls = 0

def causal(module, query, key, value, attention_mask, scaling=None, **_):
    global calls
    calls += 1
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(query, key, value, is_causal=True, scale=scaling).transpose(1, 2).contiguous(), None

def logits(name):
    config = Qwen2Config(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=4)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=name).eval()
    with torch.no_grad():
        return model(torch.arange(8)[None], use_cache=False).logits

def outcome(name):
    global calls
    calls = 0
    AttentionInterface.register(name, causal)
    try:
        result = "eager's logits" if torch.allclose(logits(name), expected, atol=1e-5) else "other logits"
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    return f"{name}: {calls} calls, {result}"

print(f"python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}")
expected = logits("eager")
seen = [outcome("plain_attention"), outcome("plain_flash_attention")]
print("\n".join(seen))
sys.exit(seen != [
    "plain_attention: 2 calls, eager's logits",
    "plain_flash_attention: 0 calls, ValueError: Could not find the currently requested flash attention"
    " implementation at `plain_flash_attention`.Make sure that you request a valid kernel from the hub, e.g."
    " `kernels-community/flash-attn2`.",
])
PYTHON
"$work/venv/bin/python" "$work/check.py"
