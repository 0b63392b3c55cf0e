#!/usr/bin/env bash
# flex_attention compiled for one length at a time, and rows of many lengths. Date: 2026-11-30
#
# Guess: torch.compile(flex_attention, dynamic=False), as many examples have it, compiles once for every new
# length, so that batches of ever new lengths cost some seconds each and no memory.
#
# Behaviour seen: it compiles for eight lengths. From the ninth on PyTorch calls the plain function, which
# makes every score: what a step takes in memory grows with the square of the length at once, in the middle of
# a run that went well. The results are right, nothing is raised, and a warning of the compiler's is logged,
# which speaks of recompiling and not of memory. Way out: the default (dynamic left out) or dynamic=True
# compile once or twice for all lengths, and fullgraph=True raises where PyTorch would give up.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu
#   one length at a time, 8 lengths: less than a tenth of the scores
#   one length at a time, the 9th: more than all scores
#   any length, 9 lengths: less than a tenth of the scores
#   one length at a time as a whole graph, the 9th: FailOnRecompileLimitHit
#
# Needs a pip index that offers the CPU build of torch, and g++; no GPU and no model download.
# Exits 0 only if memory is as above. Run on the CPU without gradients, where flex_attention has no backward; the
# part that gives up compiling is the same on every device.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, warnings
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

HEADS, SIZE, LENGTHS = 16, 32, [1024 + 128 * step for step in range(9)]
warnings.simplefilter("ignore")
torch.set_grad_enabled(False)

def status(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024

def share_of_scores(attention, length):
    """Peak of a second call beyond what was there, over one fp32 tensor of all scores."""
    query, key, value = (torch.randn(1, HEADS, length, SIZE) for _ in range(3))
    mask = create_block_mask(lambda b, h, q, k: q >= k, None, None, length, length, device="cpu")
    attention(query, key, value, block_mask=mask)
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    before = status("VmRSS")
    attention(query, key, value, block_mask=mask)
    return (status("VmHWM") - before) / (4 * HEADS * length**2)

def shares(**options):
    torch._dynamo.reset()
    attention = torch.compile(flex_attention, **options)
    return [share_of_scores(attention, length) for length in LENGTHS]

def said(share):
    if share < 0.1:
        return "less than a tenth of the scores"
    return "more than all scores" if share > 1 else f"{share:.2f} of the scores"

def raised():
    try:
        shares(dynamic=False, fullgraph=True)
    except Exception as error:
        return type(error).__name__
    return "nothing raised"

print(f"python {platform.python_version()}, torch {torch.__version__}")
one, any_length = shares(dynamic=False), shares()
seen = [f"one length at a time, 8 lengths: {said(max(one[:8]))}",
        f"one length at a time, the 9th: {said(one[8])}",
        f"any length, 9 lengths: {said(max(any_length))}",
        f"one length at a time as a whole graph, the 9th: {raised()}"]
print("\n".join(seen))
expected = ["one length at a time, 8 lengths: less than a tenth of the scores",
            "one length at a time, the 9th: more than all scores",
            "any length, 9 lengths: less than a tenth of the scores",
            "one length at a time as a whole graph, the 9th: FailOnRecompileLimitHit"]
sys.exit(seen != expected)
PYTHON
"$work/venv/bin/python" "$work/check.py"
