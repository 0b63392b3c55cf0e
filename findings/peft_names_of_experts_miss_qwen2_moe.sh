#!/usr/bin/env bash
# The same seven targets on two mixtures of one make: Qwen3-MoE and Qwen2-MoE. Date: 2026-11-29
#
# Guess: PEFT's table of families whose gate_proj, up_proj and down_proj mean the fused experts is called
# "qwen2_moe", so on Qwen2-MoE these names adapt the experts, as they do on Qwen3-MoE.
#
# Behaviour seen: every family of the table is adapted so, but the one that it is named after. The table
# lists the families that are converted like Qwen2-MoE, and Qwen2-MoE is not among them (Mixtral is put in
# by hand). There the names adapt the shared expert's linears; all-linear leaves the experts out, too.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, transformers 5.24.0, peft 0.21.2
#   qwen3_moe: experts adapted True
#   qwen2_moe: experts adapted False, shared expert adapted True
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if both behave as above.
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
from transformers import AutoConfig, AutoModelForCausalLM

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

def adapted(kind):
    config = AutoConfig.for_model(kind, vocab_size=64, hidden_size=32, intermediate_size=64,
                                  moe_intermediate_size=16, shared_expert_intermediate_size=16,
                                  num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
                                  num_experts=4, num_experts_per_tok=2)
    model = get_peft_model(AutoModelForCausalLM.from_config(config), LoraConfig(r=4, target_modules=TARGETS))
    names = [name for name, each in model.named_parameters() if each.requires_grad]
    return any(".experts." in name for name in names), any(".shared_expert." in name for name in names)

print(f"python {platform.python_version()}, torch {torch.__version__}, "
      f"transformers {transformers.__version__}, peft {peft.__version__}")
three, two = adapted("qwen3_moe"), adapted("qwen2_moe")
print(f"qwen3_moe: experts adapted {three[0]}")
print(f"qwen2_moe: experts adapted {two[0]}, shared expert adapted {two[1]}")
sys.exit((three[0], two) != (True, (False, True)))
PYTHON
"$work/venv/bin/python" "$work/check.py"
