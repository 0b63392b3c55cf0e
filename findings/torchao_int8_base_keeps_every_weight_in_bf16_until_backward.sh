#!/usr/bin/env bash
# A frozen base in torchao's weight-only int8: what its forward keeps for backward. Date: 2026-11-30
#
# Guess: nothing of the size of a weight. The int8 weight is turned into bf16 for its product and freed, and
# made anew in backward, as bitsandbytes does it; so a base of N parameters costs N bytes in training, too.
#
# Behaviour seen: the product is a plain one, so autograd keeps its bf16 weight until backward: without
# checkpointing all of them are alive at the end of forward, 3 bytes a parameter where plain bf16 takes 2.
# The int8 base needs more memory than the one it was made of. float8 does the same. Besides, the weight gives
# itself out as bf16 (dtype, element_size, nbytes), so that sums over parameters say 2 bytes before and after.
# Way out: gradient checkpointing (one layer's weights at a time), or bitsandbytes' 8 bits.
#
# Output seen (exit status 0):
#   torch 2.13.0+cpu, torchao 0.18.0, bitsandbytes 0.50.2
#   bytes per parameter of 8 frozen linears, as their tensors say / kept by forward besides them:
#   plain bf16: 2.00 / 0.00
#   torchao Int8WeightOnlyConfig: 2.00 / 2.00
#   torchao Float8WeightOnlyConfig: 2.00 / 2.00
#   bitsandbytes 8 bits: 1.00 / 0.00
#   bitsandbytes 4 bits: 0.50 / 0.00
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if the five behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "torchao==0.18.0" "bitsandbytes==0.50.2" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import sys, warnings
warnings.simplefilter("ignore")
import bitsandbytes, torch, torchao
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

SIZE, LAYERS = 512, 8

def plain():
    linears = [nn.Linear(SIZE, SIZE, bias=False, dtype=torch.bfloat16) for _ in range(LAYERS)]
    return nn.Sequential(*linears).requires_grad_(False)

def by_torchao(kind):
    model = plain()
    quantize_(model, kind())
    return model

def by_bitsandbytes(make):
    return nn.Sequential(*[make(SIZE, SIZE, bias=False) for _ in range(LAYERS)]).to("cpu").requires_grad_(False)

def outcome(name, model):
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters() if type(weight) is nn.Parameter}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.randn(1, SIZE, dtype=torch.bfloat16, requires_grad=True))
    count = LAYERS * SIZE * SIZE
    told = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return f"{name}: {told / count:.2f} / {sum(size for size, _ in kept.values()) / count:.2f}"

print(f"torch {torch.__version__}, torchao {torchao.__version__}, bitsandbytes {bitsandbytes.__version__}")
print(f"bytes per parameter of {LAYERS} frozen linears, as their tensors say / kept by forward besides them:")
seen = [
    outcome("plain bf16", plain()),
    outcome("torchao Int8WeightOnlyConfig", by_torchao(Int8WeightOnlyConfig)),
    outcome("torchao Float8WeightOnlyConfig", by_torchao(Float8WeightOnlyConfig)),
    outcome("bitsandbytes 8 bits", by_bitsandbytes(lambda *a, **k: Linear8bitLt(*a, has_fp16_weights=False, **k))),
    outcome("bitsandbytes 4 bits", by_bitsandbytes(lambda *a, **k: Linear4bit(*a, compute_dtype=torch.bfloat16, **k))),
]
print("\n".join(seen))
sys.exit(seen != [
    "plain bf16: 2.00 / 0.00", "torchao Int8WeightOnlyConfig: 2.00 / 2.00",
    "torchao Float8WeightOnlyConfig: 2.00 / 2.00", "bitsandbytes 8 bits: 1.00 / 0.00",
    "bitsandbytes 4 bits: 0.50 / 0.00",
])
PYTHON
"$work/venv/bin/python" "$work/check.py" 2>/dev/null
