#!/usr/bin/env bash
# A 4-bit linear on a CPU: what PEFT's DoRA leaves behind where it reads the weight. Date: 2026-11-30
#
# Guess: nothing. It dequantises the weight and takes the norms of its rows.
#
# Behaviour seen: on a CPU the linear's parameter is another object afterwards. dequantize_module_weight
# (peft/utils/integrations.py) moves the weight "back" to the device that it is on and assigns the result,
# and bitsandbytes' ``to`` makes a new parameter. Whoever keeps the parameter, to put other bytes under
# it, from then on changes one that no module has. Nothing is raised: the layer goes on with old weights.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, peft 0.21.2, bitsandbytes 0.50.2
#   the same parameter before: True, after: False; bytes put under the old one are seen: False
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if the parameter is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "peft==0.21.2" "bitsandbytes==0.50.2" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, warnings
warnings.simplefilter("ignore")
import bitsandbytes, peft, torch
from bitsandbytes.nn import Linear4bit
from peft.utils.integrations import dequantize_module_weight

linear = Linear4bit(64, 64, bias=False, quant_type="nf4").to("cpu")
kept = linear.weight
before = kept is linear.weight
dequantize_module_weight(linear)
after = kept is linear.weight
kept.data = torch.zeros_like(kept.data)
seen = not bool(linear.weight.data.any())
print(f"python {platform.python_version()}, torch {torch.__version__}, peft {peft.__version__}, "
      f"bitsandbytes {bitsandbytes.__version__}")
print(f"the same parameter before: {before}, after: {after}; bytes put under the old one are seen: {seen}")
sys.exit(0 if before and not after and not seen else 1)
PYTHON
"$work/venv/bin/python" "$work/check.py"
