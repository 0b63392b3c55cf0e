#!/usr/bin/env bash
# Packed rows of gpt-oss, told apart by their positions. Date: 2026-11-30
#
# Guess: rows laid end to end by transformers' own DataCollatorWithFlattening (positions begin anew with each
# row, no attention mask) stay apart in gpt-oss as in every other mixture of transformers 5: without a flash
# kernel the mask is made from the positions, also for eager attention, which gpt-oss takes on a CPU.
#
# Behaviour seen: its model alone does not hand the positions on to the function that makes the mask. Under
# eager attention every packed row reads all rows before it, in its full layers and in its sliding ones.
# Nothing is logged; the loss is that of other text, and depends on which rows were packed together. OPT,
# Granite 4's hybrid, XGLM and BioGPT do the same (run once, not checked below). Read, not run: flex attention
# takes its mask from the same call; flash kernels find the rows by another way. Way out: hand over the masks,
# made from the positions as below.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, transformers 5.24.0
#   mixtral: loss of the second row alone 5.5799, behind row A 5.5799, behind row B 5.5799
#   qwen3_moe: loss of the second row alone 4.8316, behind row A 4.8316, behind row B 4.8316
#   gpt_oss: loss of the second row alone 5.1476, behind row A 4.9474, behind row B 4.9767
#   gpt_oss with masks: loss of the second row alone 5.1476, behind row A 5.1476, behind row B 5.1476
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if the first two keep rows apart, gpt-oss does not, and the masks mend it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys
import torch, transformers
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, DataCollatorWithFlattening
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

transformers.logging.set_verbosity_error()
SHAPE = dict(vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, num_experts_per_tok=4)
FAMILIES = {"mixtral": dict(num_local_experts=4), "qwen3_moe": dict(num_experts=4, moe_intermediate_size=32),
            "gpt_oss": dict(num_local_experts=4)}

def build(family):
    config = AutoConfig.for_model(family, **SHAPE, **FAMILIES[family])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.15, generator=generator)
    return model

def masks(model, batch):
    made = dict(config=model.config, inputs_embeds=model.get_input_embeddings()(batch["input_ids"]),
                attention_mask=None, cache=None, position_ids=batch["position_ids"])
    return {"full_attention": create_causal_mask(**made),
            "sliding_attention": create_sliding_window_causal_mask(**made)}

def loss_of_last(model, rows, mask=None):
    batch = DataCollatorWithFlattening()([{"input_ids": row.tolist()} for row in rows])
    labels = batch.pop("labels")
    if mask:
        batch["attention_mask"] = mask(model, batch)
    with torch.no_grad():
        logits = model(**batch, use_cache=False).logits[0]
    size = len(rows[-1])
    return float(cross_entropy(logits[-size:-1], labels[0, 1 - size:]))

generator = torch.Generator().manual_seed(1)
first, second, last = (torch.randint(0, 64, (12,), generator=generator) for _ in range(3))

def told(name, family, mask=None):
    model = build(family)
    alone, *behind = (loss_of_last(model, rows, mask) for rows in ([last], [first, last], [second, last]))
    print(f"{name}: loss of the second row alone {alone:.4f}, "
          f"behind row A {behind[0]:.4f}, behind row B {behind[1]:.4f}")
    return max(abs(found - alone) for found in behind) < 1e-4

print(f"python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}")
apart = [told("mixtral", "mixtral"), told("qwen3_moe", "qwen3_moe"), told("gpt_oss", "gpt_oss"),
         told("gpt_oss with masks", "gpt_oss", masks)]
sys.exit(apart != [True, True, False, True])
PYTHON
"$work/venv/bin/python" "$work/check.py" 2>/dev/null
