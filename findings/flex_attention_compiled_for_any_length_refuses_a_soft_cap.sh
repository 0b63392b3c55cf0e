#!/usr/bin/env bash
# flex_attention compiled with dynamic=True, and a soft cap of the scores. Date: 2026-12-01
#
# Guess: a score function that reads a number of its surroundings, such as the bound of a soft cap, compiles
# the same with dynamic=True as without: the number is a constant of the kernel, as it is for a fixed length.
#
# Behaviour seen: dynamic=True hands the number to the kernel as a tensor, and the default compiler has no place
# for it: it raises "unbacked_bindings" on the CPU (on a GPU, with gradients, the same in other words while it
# traces). The backend aot_eager, with which people try such code before they have a GPU, compiles it. Left out,
# dynamic makes the second length a kernel for any length, with the number as a constant. Way out beside that:
# torch._dynamo.config.specialize_float while it compiles, or the number written into the function.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu
#   dynamic=True: LoweringException: RuntimeError: unbacked_bindings
#   dynamic=True, aot_eager: compiled
#   dynamic left out, two lengths: compiled
#   dynamic=True, specialize_float: compiled
#   dynamic=True, number written into the function: compiled
#
# Needs a pip index that offers the CPU build of torch, and g++; no GPU and no model download.
# Exits 0 only if it compiles, and raises, as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, warnings
import torch
from torch.nn.attention.flex_attention import flex_attention

warnings.simplefilter("ignore")
torch.set_grad_enabled(False)

def capped_at(bound):
    def capped(score, row, head, query, key):
        return torch.tanh(score / bound) * bound
    return capped

def capped_at_50(score, row, head, query, key):
    return torch.tanh(score / 50.0) * 50.0

def said(score_mod=capped_at(50.0), lengths=(256,), constant=False, **options):
    torch._dynamo.reset()
    attention = torch.compile(flex_attention, fullgraph=True, **options)
    try:
        with torch._dynamo.config.patch(specialize_float=constant):
            for length in lengths:
                query, key, value = (torch.randn(1, 4, length, 32) for _ in range(3))
                found = attention(query, key, value, score_mod=score_mod)
                assert torch.allclose(found, flex_attention(query, key, value, score_mod=score_mod), atol=1e-5)
    except Exception as error:
        return str(error).splitlines()[0]
    return "compiled"

print(f"python {platform.python_version()}, torch {torch.__version__}")
seen = [f"dynamic=True: {said(dynamic=True)}",
        f"dynamic=True, aot_eager: {said(dynamic=True, backend='aot_eager')}",
        f"dynamic left out, two lengths: {said(lengths=(256, 384))}",
        f"dynamic=True, specialize_float: {said(dynamic=True, constant=True)}",
        f"dynamic=True, number written into the function: {said(capped_at_50, dynamic=True)}"]
print("\n".join(seen))
expected = ["dynamic=True: LoweringException: RuntimeError: unbacked_bindings",
            "dynamic=True, aot_eager: compiled",
            "dynamic left out, two lengths: compiled",
            "dynamic=True, specialize_float: compiled",
            "dynamic=True, number written into the function: compiled"]
sys.exit(seen != expected)
PYTHON
"$work/venv/bin/python" "$work/check.py"
