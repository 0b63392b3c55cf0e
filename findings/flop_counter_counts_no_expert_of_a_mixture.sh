#!/usr/bin/env bash
# torch.utils.flop_counter.FlopCounterMode on a mixture of experts of transformers 5. Date: 2026-11-30
#
# Guess: it counts every matrix product, that of the experts as any other; only the way in which the experts
# are computed might change the count a little. It is the counter that step times and MFU are worked out from.
#
# Behaviour seen: transformers 5 computes experts by the fused operator _grouped_mm unless told otherwise, and
# the counter has no formula for it: an operator without one counts as 0, without a word. What is left is
# attention's projections, the router and the head: some 40 % of the work here, and of Qwen3-30B-A3B by its
# shapes. The same model set to "batched_mm" or "eager" is counted whole. On a CPU fused attention counts as 0
# as well, under its own name there; for those of a GPU the counter has formulas. Way out: a formula for _grouped_mm (custom_mapping), or
# set_experts_implementation("eager") for the count.
#
# Output seen (exit status 0; by hand, experts take 6 x 64 x 32 x 2 chosen x 256 tokens x 2 layers = 12,582,912):
#   torch 2.13.0+cpu, transformers 5.24.0
#   as it comes (grouped_mm): 8,912,896 in all
#   eager: 21,495,808 in all
#   batched_mm: 21,495,808 in all
#   fused attention on a CPU: 0 in all
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if the counts are as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import sys
import torch, transformers
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
TOKENS, HIDDEN, EXPERT, LAYERS, CHOSEN = 256, 64, 32, 2, 2

def counted(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()

def outcome(name, how):
    config = AutoConfig.for_model("qwen3_moe", vocab_size=64, hidden_size=HIDDEN, moe_intermediate_size=EXPERT,
                                  num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
                                  num_experts=8, num_experts_per_tok=CHOSEN)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    if how:
        model.set_experts_implementation(how)
    ids = torch.randint(0, 64, (1, TOKENS))
    flops = counted(lambda: model(input_ids=ids, use_cache=False))
    print(f"{name}: {flops:,} in all")
    return flops

print(f"torch {torch.__version__}, transformers {transformers.__version__}")
bare = outcome("as it comes (grouped_mm)", None)
whole = [outcome(how, how) for how in ("eager", "batched_mm")]
heads = torch.randn(1, 4, TOKENS, 16)
attention = counted(lambda: scaled_dot_product_attention(heads, heads, heads, is_causal=True))
print(f"fused attention on a CPU: {attention:,} in all")
experts = 6 * HIDDEN * EXPERT * CHOSEN * TOKENS * LAYERS
sys.exit([bare + experts] * 2 + [0] != [*whole, attention])
PYTHON
"$work/venv/bin/python" "$work/check.py" 2>/dev/null
