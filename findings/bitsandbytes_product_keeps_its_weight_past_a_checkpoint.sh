#!/usr/bin/env bash
# Memory of a 4-bit layer under checkpointing, where another library lends it its weight. Date: 2026-11-30
#
# Guess: torch.utils.checkpoint drops all that a layer saved for backward. So a library that puts the
# packed weight behind the parameter for the layer's forward, and takes it away again (DeepSpeed's ZeRO-3
# does, for every linear), gets its memory back until backward, as with torch's own linear.
#
# Behaviour seen: the packed weight stays in memory until backward, checkpoint or not. bitsandbytes' product
# keeps it as an attribute of its context (MatMul4Bit, ``ctx.tensors``) instead of by save_for_backward, and
# checkpoints, offloading hooks and the like see saved tensors alone. On two GPUs an 8B NF4 base under ZeRO-3
# was therefore whole on each of them in every step: 9.6 GiB where 6.4 were foretold, and the packed linears
# are 3.24. A product of one's own that reads the parameter again in backward keeps nothing.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, bitsandbytes 0.50.2
#   weight still in memory after a checkpointed forward: torch's linear False, bitsandbytes' True
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if bitsandbytes keeps the weight and torch does not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "bitsandbytes==0.50.2" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, warnings
warnings.simplefilter("ignore")
import bitsandbytes, torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint


class LentWeight(torch.autograd.Function):
    """torch's linear with a parameter whose bytes come and go, as ZeRO-3 patches it in."""

    @staticmethod
    def forward(ctx, rows, weight):
        ctx.save_for_backward(weight)
        return rows @ weight.t()

    @staticmethod
    def backward(ctx, gradient):
        return gradient @ ctx.saved_tensors[0], None


def kept(linear, call):
    rows = torch.randn(8, 256, requires_grad=True)
    whole = StorageWeakRef(linear.weight.data.untyped_storage())
    result = checkpoint(call, rows, use_reentrant=False)
    # The library that lent the weight takes it back.
    linear.weight.data = torch.empty(0, dtype=linear.weight.dtype)
    return not whole.expired(), result


plain = torch.nn.Linear(256, 256, bias=False)
plain.weight.requires_grad_(False)
packed = bitsandbytes.nn.Linear4bit(256, 256, bias=False, quant_type="nf4", compute_dtype=torch.float32)
packed.to("cpu")
of_torch, one = kept(plain, lambda rows: LentWeight.apply(rows, plain.weight))
of_bitsandbytes, other = kept(packed, packed)
print(f"python {platform.python_version()}, torch {torch.__version__}, bitsandbytes {bitsandbytes.__version__}")
print(f"weight still in memory after a checkpointed forward: torch's linear {of_torch}, "
      f"bitsandbytes' {of_bitsandbytes}")
sys.exit(0 if of_bitsandbytes and not of_torch else 1)
PYTHON
"$work/venv/bin/python" "$work/check.py"
