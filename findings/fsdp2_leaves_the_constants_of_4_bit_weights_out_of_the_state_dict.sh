#!/usr/bin/env bash
# FSDP2 and a 4-bit linear of bitsandbytes: forward, state dict, adapters added later. Date: 2026-11-30
#
# Guess: bitsandbytes says that it supports FSDP, and the forward of a sharded 4-bit linear is right, so its
# state dict holds the packed weight (as a slice) and the constants that it is unpacked by, as without FSDP2;
# and PEFT adds an adapter to it as to any other 4-bit linear.
#
# Behaviour seen: the forward is right, because the linear keeps the constants beside the weight. But
# fully_shard puts a DTensor in the place of the Params4bit, which alone knows of them: the state dict then
# holds the packed bytes and nothing else, without a word, and cannot be turned into numbers again. And PEFT,
# which reads the 4-bit settings from the weight, fails with an AttributeError. Way out: add adapters first,
# shard then, and take the constants of a checkpoint from the linear (quant_state), not from its state dict.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, bitsandbytes 0.50.2, peft 0.21.2
#   whole: 6 entries, sharded: 1 entry (weight)
#   forward of the sharded linear equals that of the whole one: True
#   adapter added before sharding: works; after: AttributeError
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if all is as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "numpy==2.4.6" "bitsandbytes==0.50.2" \
    "peft==0.21.2" "transformers==5.24.0" "accelerate==1.15.0"
cat >"$work/check.py" <<'PYTHON'
import logging, platform, sys, warnings
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
import bitsandbytes as bnb, peft, torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)

class Toy(nn.Module):
    """One frozen 4-bit linear."""
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.proj = bnb.nn.Linear4bit(64, 48, bias=False, compute_dtype=torch.float32, quant_type="nf4")
        self.proj.weight = bnb.nn.Params4bit(
            torch.randn(48, 64), requires_grad=False, quant_type="nf4", module=self.proj)
        self.proj.to("cpu")
        self.is_loaded_in_4bit = True

    def forward(self, rows):
        return self.proj(rows)

def adapted(toy):
    config = peft.LoraConfig(r=2, target_modules=["proj"])
    return peft.get_peft_model(toy, config)

rows, whole, sharded = torch.randn(3, 64), Toy(), Toy()
fully_shard(sharded)
before, after = sorted(whole.state_dict()), sorted(sharded.state_dict())
equal = torch.equal(whole(rows), sharded(rows))
first = adapted(Toy())
fully_shard(first, ignored_params={one for one in first.parameters() if one.requires_grad})
first(rows).sum().backward()
late = Toy()
fully_shard(late)
try:
    adapted(late)
    later = "works"
except AttributeError as error:
    later = type(error).__name__
print(f"python {platform.python_version()}, torch {torch.__version__}, bitsandbytes {bnb.__version__}, "
      f"peft {peft.__version__}")
print(f"whole: {len(before)} entries, sharded: {len(after)} entry ({after[0].removeprefix('proj.')})")
print(f"forward of the sharded linear equals that of the whole one: {equal}")
print(f"adapter added before sharding: works; after: {later}")
sys.exit(not (len(before) == 6 and after == ["proj.weight"] and equal and later == "AttributeError"))
PYTHON
"$work/venv/bin/python" "$work/check.py"
