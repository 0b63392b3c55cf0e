#!/usr/bin/env bash
# LoRA on a base in torchao's int8 with dynamic activations (W8A8). Date: 2026-11-30
#
# Guess: it trains. transformers says so: is_trainable of the torchao quantiser is true for "8", and the line
# above names Int8DynamicActivationInt8Weight; Trainer lets the model through, PEFT has a layer for it. If an
# operator had no gradient, autograd would raise.
#
# Behaviour seen: the frozen product passes no gradient to its input, and nothing raises, because the adapter
# beside it does. Whatever lies before a quantised linear is reached only through adapters, which begin at
# zero: in the first step q, k, v, gate and up of every layer get a gradient of exactly 0, and later ones get
# the adapters' part alone. The loss still falls, by o_proj and down_proj. With adapters on q and v alone the
# same model raises that no gradient is there. Weight-only int8 trains as the plain model does.
# Way out: Int8WeightOnlyConfig, or bitsandbytes' 8 bits, for a base that is trained on.
#
# Output seen (exit status 0):
#   torch 2.13.0+cpu, torchao 0.18.0, transformers 5.24.0, peft 0.21.2
#   plain: adapters with a gradient: q k v o gate up down
#   Int8WeightOnlyConfig, trainable True: adapters with a gradient: q k v o gate up down
#   Int8DynamicActivationInt8WeightConfig, trainable True: adapters with a gradient: o down
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if the three behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "accelerate==1.15.0" "peft==0.21.2" \
    "torchao==0.18.0" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import sys, warnings
warnings.simplefilter("ignore")
import peft, torch, torchao, transformers
from peft import LoraConfig, get_peft_model
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig
from transformers import AutoConfig, AutoModelForCausalLM, TorchAoConfig

transformers.logging.set_verbosity_error()
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHAPE = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=64)
torch.manual_seed(0)
folder = f"{sys.argv[1]}/model"
AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **SHAPE), dtype=torch.bfloat16).save_pretrained(folder)

def outcome(kind):
    quantized = {} if kind is None else {"quantization_config": TorchAoConfig(quant_type=kind())}
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **quantized)
    name = "plain" if kind is None else f"{kind.__name__}, trainable {base.hf_quantizer.is_trainable}"
    model = get_peft_model(base, LoraConfig(r=4, target_modules=TARGETS))
    ids = torch.arange(32)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    layers = model.base_model.model.model.layers
    reached = [target for target in TARGETS if all(
        any(module.lora_B["default"].weight.grad.abs().max() > 0 for own, module in layer.named_modules()
            if own.endswith(target)) for layer in layers)]
    return f"{name}: adapters with a gradient: {' '.join(target[:-5] for target in reached)}"

print(f"torch {torch.__version__}, torchao {torchao.__version__}, transformers {transformers.__version__}, "
      f"peft {peft.__version__}")
seen = [outcome(kind) for kind in (None, Int8WeightOnlyConfig, Int8DynamicActivationInt8WeightConfig)]
print("\n".join(seen))
sys.exit(seen != [
    "plain: adapters with a gradient: q k v o gate up down",
    "Int8WeightOnlyConfig, trainable True: adapters with a gradient: q k v o gate up down",
    "Int8DynamicActivationInt8WeightConfig, trainable True: adapters with a gradient: o down",
])
PYTHON
"$work/venv/bin/python" "$work/check.py" "$work" 2>/dev/null
