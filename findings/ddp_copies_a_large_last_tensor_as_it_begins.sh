#!/usr/bin/env bash
# DistributedDataParallel around a model with frozen weights: memory while it is made. Date: 2026-11-30
#
# Guess: frozen weights are left alone, or are sent from process 0 through buffers of up to the 250 MiB
# that the code names as its bucket size, whatever the order of the tensors.
#
# Behaviour seen: frozen weights are sent too, and the size of a bucket is a floor, not a cap. A bucket
# is closed once it holds 250 MiB, so that a large tensor that comes after a small one shares its bucket
# and is copied whole into a flat buffer (torch/csrc/distributed/c10d/reducer.cpp, broadcast_coalesced);
# a large tensor that opens a bucket is sent as it lies, without a copy. The lm_head of a language model
# comes last, after the small norms: making DDP around a frozen base holds a second copy of it (1 GiB at
# 131,072 x 5,120 in bf16), also where the run that follows needs less. A process alone does it as well.
# Names in _ddp_params_and_buffers_to_ignore are neither sent nor copied.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu
#   512 MiB frozen, after a small tensor: peak grows by 586 MiB
#   512 MiB frozen, before a small tensor: peak grows by 74 MiB
#   512 MiB frozen, after a small tensor, left out: peak grows by 74 MiB
#
# Needs a pip index that offers the CPU build of torch; Linux, 2 GiB of memory, no GPU.
# Exits 0 only if the first of the three grows by 400 MiB and more and the two others by less than 150;
# some 74 MiB are what DDP itself loads.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, resource, sys
import torch
from torch import nn

order, left_out = sys.argv[1], sys.argv[2] == "out"
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
model = nn.Module()
def large():
    model.large = nn.Parameter(torch.full((128, 2**20), 1.0), requires_grad=False)
def small():
    model.small = nn.Parameter(torch.ones(16), requires_grad=False)
for each in (small, large) if order == "after" else (large, small):
    each()
model.trained = nn.Linear(4, 4)
if left_out:
    model._ddp_params_and_buffers_to_ignore = ["large", "small"]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
nn.parallel.DistributedDataParallel(model)
print(f"{peak() - before:.0f}")
PYTHON
run() { "$work/venv/bin/python" -W ignore "$work/check.py" "$1" "$2"; }
"$work/venv/bin/python" -c "import platform, torch; print(f'python {platform.python_version()}, torch {torch.__version__}')"
after=$(run after in); before=$(run before in); out=$(run after out)
echo "512 MiB frozen, after a small tensor: peak grows by $after MiB"
echo "512 MiB frozen, before a small tensor: peak grows by $before MiB"
echo "512 MiB frozen, after a small tensor, left out: peak grows by $out MiB"
[ "$after" -ge 400 ] && [ "$before" -lt 150 ] && [ "$out" -lt 150 ]
