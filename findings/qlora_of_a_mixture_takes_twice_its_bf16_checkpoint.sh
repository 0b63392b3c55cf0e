#!/usr/bin/env bash
# A mixture of experts loaded in 4 bits and prepared for training by PEFT: its bytes. Date: 2026-11-29
#
# Guess: less than half of the bf16 checkpoint, as for a dense model: 4-bit matrices, and embeddings,
# head and norms in fp32.
#
# Behaviour seen: nearly twice the checkpoint. Since transformers 5 the experts are one fused parameter
# and no nn.Linear, so bitsandbytes leaves them in bf16, without a word; prepare_model_for_kbit_training
# then casts every half-precision parameter that is not Params4bit to fp32, the experts with them.
# By its shapes Mixtral-8x7B takes 170 GiB of weights that way; 4 bits of all its matrices would be 23.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, transformers 5.24.0, peft 0.21.2, bitsandbytes 0.50.2
#   bf16 checkpoint 3,478,784 bytes, loaded in 4 bits 3,331,328, prepared for training 6,613,504 (1.90x)
#   experts: torch.float32
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if the prepared mixture is larger than its bf16 checkpoint and its experts are fp32.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "peft==0.21.2" "numpy==2.4.6" \
  "bitsandbytes==0.50.2" "accelerate==1.15.0"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, tempfile, warnings
warnings.simplefilter("ignore")
import bitsandbytes, peft, torch, transformers
from peft import prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, MixtralConfig

def size(model):
    return sum(parameter.nbytes for parameter in model.parameters())

config = MixtralConfig(vocab_size=256, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
                       num_attention_heads=4, num_key_value_heads=2, num_local_experts=8)
nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                         bnb_4bit_compute_dtype=torch.bfloat16)
with tempfile.TemporaryDirectory() as folder:
    whole = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    whole.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=nf4, dtype=torch.bfloat16)
bf16, loaded = size(whole), size(model)
prepared = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
experts = {parameter.dtype for name, parameter in prepared.named_parameters() if "experts" in name}
print(f"python {platform.python_version()}, torch {torch.__version__}, "
      f"transformers {transformers.__version__}, peft {peft.__version__}, "
      f"bitsandbytes {bitsandbytes.__version__}")
print(f"bf16 checkpoint {bf16:,} bytes, loaded in 4 bits {loaded:,}, "
      f"prepared for training {size(prepared):,} ({size(prepared) / bf16:.2f}x)")
print("experts:", *experts)
sys.exit(not (size(prepared) > bf16 and experts == {torch.float32}))
PYTHON
"$work/venv/bin/python" "$work/check.py" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
