#!/usr/bin/env bash
# Activations of PEFT's adapters besides LoRA: what forward keeps whatever the number of tokens. Date: 2026-11-30
#
# Guess: a few vectors of rank size. These adapters train fewer numbers than LoRA does (HRA half of them, LoKr a
# tenth, FourierFT a hundredth) and are chosen where memory is short; what is kept for backward grows with the
# tokens of a batch, as LoRA's does, and nothing of the size of a frozen weight stays.
#
# Behaviour seen: they work on the whole weight, in every forward, and autograd keeps what that takes. LoHa,
# LoKr, RandLoRA and FourierFT keep one fp32 matrix of the weight's size, and HRA one for each rank and two
# besides (three over a bf16 base): ten times an fp32 weight at rank 8. One linear of 4096 x 4096 then takes
# 671 MB for one token, and a model with 6.5 billion adapted numbers 260 GB. Gradient checkpointing keeps them
# for one layer at a time. LoRA, VeRA, IA3 and MiSS keep none. Way out: those, or checkpointing; and no plan of
# memory by the count of trained numbers.
#
# Output seen (exit status 0):
#   torch 2.13.0+cpu, peft 0.21.2
#   kept whatever the tokens, in sizes of the fp32 weight (and trained numbers of one linear of 262,144):
#   LoRA 0.0 (8,192), VeRA 0.0 (520), IA3 0.0 (512), MiSS 0.0 (4,096)
#   LoHa 1.0 (16,384), LoKr 1.0 (768), RandLoRA 1.0 (33,280), FourierFT 1.0 (100)
#   HRA at rank 2, 4, 8: 4.0 (1,024), 6.0 (2,048), 10.0 (4,096)
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if the sizes are as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "accelerate==1.15.0" "peft==0.21.2" \
    "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import sys, warnings
warnings.simplefilter("ignore")
import peft, torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

SIZE, COLUMNS = 512, 512 * 4

def kept(model, tokens):
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    found = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.randn(tokens, SIZE, requires_grad=True))
    return sum(size for size, _ in found.values())

def size(kind, **settings):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(SIZE, SIZE, bias=False))
    model = peft.get_peft_model(base, getattr(peft, kind)(target_modules=["0"], **settings))
    one, nine = kept(model, 1), kept(model, 9)
    fixed = (one - (nine - one) / 8) / (SIZE * SIZE * 4)
    return f"{fixed:.1f} ({sum(weight.numel() for weight in model.parameters() if weight.requires_grad):,})"

print(f"torch {torch.__version__}, peft {peft.__version__}")
print("kept whatever the tokens, in sizes of the fp32 weight (and trained numbers of one linear of 262,144):")
seen = [
    f"LoRA {size('LoraConfig', r=8)}, VeRA {size('VeraConfig', r=8)}, "
    f"IA3 {size('IA3Config', feedforward_modules=[])}, MiSS {size('MissConfig', r=8)}",
    f"LoHa {size('LoHaConfig', r=8)}, LoKr {size('LoKrConfig', r=8)}, RandLoRA {size('RandLoraConfig', r=8)}, "
    f"FourierFT {size('FourierFTConfig', n_frequency=100)}",
    f"HRA at rank 2, 4, 8: {', '.join(size('HRAConfig', r=rank) for rank in (2, 4, 8))}",
]
print("\n".join(seen))
sys.exit(seen != [
    "LoRA 0.0 (8,192), VeRA 0.0 (520), IA3 0.0 (512), MiSS 0.0 (4,096)",
    "LoHa 1.0 (16,384), LoKr 1.0 (768), RandLoRA 1.0 (33,280), FourierFT 1.0 (100)",
    "HRA at rank 2, 4, 8: 4.0 (1,024), 6.0 (2,048), 10.0 (4,096)",
])
PYTHON
"$work/venv/bin/python" "$work/check.py" 2>/dev/null
