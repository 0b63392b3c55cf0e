#!/usr/bin/env bash
# LoRA on a fused expert parameter: how often PEFT adds the adapter to the whole parameter. Date: 2026-11-29
#
# Guess: once per forward and parameter, so once for gate_up_proj and once for down_proj of every layer.
#
# Behaviour seen: twice. PEFT registers the sum of parameter and adapter as a parametrization in every
# forward, and torch runs a parametrization when it is registered, to check its shape and dtype
# (nn/utils/parametrize.py), and drops the result. For the experts of Qwen3-30B-A3B that is another
# 1.2 GB written per layer, forward and recomputation.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, transformers 5.24.0, peft 0.21.2
#   2 layers, 2 fused parameters each: 8 sums of a whole parameter in one forward
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if each sum is made twice.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "peft==0.21.2" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, warnings
warnings.simplefilter("ignore")
import peft, torch, transformers
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, Qwen3MoeConfig

class Sums(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.baddbmm.default and args[0].shape[0] == 4:
            Sums.count += 1
        return func(*args, **(kwargs or {}))

config = Qwen3MoeConfig(vocab_size=64, hidden_size=32, moe_intermediate_size=16, num_hidden_layers=2,
                        num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_experts=4,
                        num_experts_per_tok=2)
model = AutoModelForCausalLM.from_config(config)
targets = ["gate_proj", "up_proj", "down_proj"]
model = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
with Sums():
    model(input_ids=torch.arange(8)[None])
print(f"python {platform.python_version()}, torch {torch.__version__}, "
      f"transformers {transformers.__version__}, peft {peft.__version__}")
print(f"2 layers, 2 fused parameters each: {Sums.count} sums of a whole parameter in one forward")
sys.exit(Sums.count != 8)
PYTHON
"$work/venv/bin/python" "$work/check.py"
