#!/usr/bin/env bash
# A weight and its transpose under autocast. Date: 2026-11-29
#
# Guess: in a loss in chunks (logits = x @ weight.t(), then gradient @ weight) autocast treats the one fp32
# weight alike in both products. Our first memory formula of such a loss said that it caches neither cast,
# as the weight is used inside an autograd function, and was too low by one whole cast of the head.
#
# Behaviour seen: the transpose is cast anew in every chunk, since autocast caches no view; the weight
# itself is cast once and the cast stays until the context ends, also where no gradient is recorded. So two
# half-precision copies of the same weight are alive in every chunk but the first. If the weight is frozen,
# both are cast in every chunk: freezing a weight makes autocast work more, not less. Way out: cast the
# weight once before the loop, and multiply by the cast.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu
#   trained weight, 4 chunks: 4 casts of the transpose, 1 of the weight, 2 alive at once
#   frozen weight, 4 chunks: 4 casts of the transpose, 4 of the weight, 1 alive at once
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if autocast casts as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, weakref
import torch
from torch.utils._python_dispatch import TorchDispatchMode

VOCABULARY, HIDDEN, CHUNKS = 1000, 64, 4

class Casts(TorchDispatchMode):
    """Counts the half-precision casts that are as large as the weight, by their shape."""
    def __init__(self):
        super().__init__()
        self.count, self.alive, self.most = {}, [], 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        if operator is torch.ops.aten._to_copy.default and result.numel() == VOCABULARY * HIDDEN:
            shape = tuple(result.shape)
            self.count[shape] = self.count.get(shape, 0) + 1
            self.alive = [one for one in self.alive if one() is not None]
            self.alive.append(weakref.ref(result.untyped_storage()))
            self.most = max(self.most, len({id(one()) for one in self.alive if one() is not None}))
        return result

class Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight):
        total = hidden.new_zeros(())
        for chunk in hidden.chunk(CHUNKS):
            logits = chunk @ weight.t()
            gradient = torch.softmax(logits.float(), -1).to(logits.dtype) @ weight
            total = total + gradient.sum()
        return total

def line(name, weight):
    hidden = torch.randn(4 * CHUNKS, HIDDEN, requires_grad=True)
    casts = Casts()
    with casts, torch.autocast("cpu", dtype=torch.bfloat16):
        Loss.apply(hidden, weight)
    turned, plain = casts.count.get((HIDDEN, VOCABULARY), 0), casts.count.get((VOCABULARY, HIDDEN), 0)
    return (f"{name} weight, {CHUNKS} chunks: {turned} casts of the transpose, {plain} of the weight, "
            f"{casts.most} alive at once")

print(f"python {platform.python_version()}, torch {torch.__version__}")
weight = torch.nn.Parameter(torch.randn(VOCABULARY, HIDDEN))
seen = [line("trained", weight), line("frozen", weight.detach())]
print("\n".join(seen))
expected = ["trained weight, 4 chunks: 4 casts of the transpose, 1 of the weight, 2 alive at once",
            "frozen weight, 4 chunks: 4 casts of the transpose, 4 of the weight, 1 alive at once"]
sys.exit(seen != expected)
PYTHON
"$work/venv/bin/python" "$work/check.py"
