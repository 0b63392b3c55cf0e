#!/usr/bin/env bash
# Trainer's weight_decay with adapters that multiply: DoRA and IA3. Date: 2026-11-30
#
# Guess: weight decay draws an adapter towards the base model, whatever the adapter: LoRA's product goes to
# zero. What stands at 1 or at the base's own size at the start (IA3's factors, DoRA's magnitudes) is left out
# of it, by PEFT or by Trainer, which leaves out biases and norms.
#
# Behaviour seen: both are decayed like any matrix, towards 0: not to the base model but to one whose adapted
# weights are gone. In 40 steps at a learning rate of 0.01 and a decay of 0.1, on rows that teach nothing (no
# label, gradient 0), LoRA leaves the logits as they were; DoRA's magnitudes and IA3's factors shrink by 4 %
# and the logits change with them. Over a long run it is exp(-sum of learning rates x decay). Way out: a group
# without decay for names with lora_magnitude_vector or ia3_l (Trainer.get_decay_parameter_names).
#
# Output seen (exit status 0):
#   torch 2.13.0+cpu, transformers 5.24.0, peft 0.21.2
#   LoRA: logits change by 0.0000
#   DoRA: logits change by 0.0063, magnitudes are 0.961 of what they were
#   IA3: logits change by 0.0059, factors are 0.961 of what they were
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if LoRA leaves the logits alone and the other two shrink by (1 - 0.01 x 0.1) ** 40.
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
import peft, torch, transformers
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

transformers.logging.set_verbosity_error()
STEPS, RATE, DECAY = 40, 1e-2, 0.1
rows = [{"input_ids": torch.arange(16), "labels": torch.full((16,), -100)}] * STEPS

def outcome(name, config, part, called):
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_config(AutoConfig.for_model(
        "qwen2", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=64)), config)
    scales = [weight for own, weight in model.named_parameters() if part and part in own]
    before, starts = model(rows[0]["input_ids"][None]).logits.detach(), [scale.detach().clone() for scale in scales]
    arguments = TrainingArguments(
        sys.argv[1], max_steps=STEPS, per_device_train_batch_size=1, learning_rate=RATE, weight_decay=DECAY,
        lr_scheduler_type="constant", save_strategy="no", use_cpu=True, report_to="none", disable_tqdm=True,
        logging_strategy="no", label_names=["labels"])
    Trainer(model=model, args=arguments, train_dataset=rows).train()
    changed = (model.eval()(rows[0]["input_ids"][None]).logits - before).abs().max()
    left = [float((scale / start).mean()) for scale, start in zip(scales, starts)]
    more = f", {called} are {sum(left) / len(left):.3f} of what they were" if left else ""
    print(f"{name}: logits change by {changed:.4f}{more}")
    return changed > 1e-3, all(abs(own - (1 - RATE * DECAY) ** STEPS) < 1e-4 for own in left)

print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
targets = ["q_proj", "v_proj", "up_proj", "down_proj"]
seen = [
    outcome("LoRA", LoraConfig(r=4, target_modules=targets), "", ""),
    outcome("DoRA", LoraConfig(r=4, target_modules=targets, use_dora=True), "lora_magnitude_vector", "magnitudes"),
    outcome("IA3", IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
            "ia3_l", "factors"),
]
sys.exit(seen != [(False, True), (True, True), (True, True)])
PYTHON
"$work/venv/bin/python" "$work/check.py" "$work" 2>/dev/null | grep -v "^{\|^$\|Training completed"
