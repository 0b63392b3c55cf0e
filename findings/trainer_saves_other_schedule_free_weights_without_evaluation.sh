#!/usr/bin/env bash
# Checkpoints of Trainer with optim="schedule_free_adamw". Date: 2026-11-30
#
# Guess: a checkpoint holds the averaged weights, which this optimizer is made for: the package asks that its
# eval() is called before weights are saved, and Trainer, which offers the optimizer by name, does so.
#
# Behaviour seen: Trainer calls eval() where it evaluates and nowhere else. A checkpoint of a step that was
# evaluated holds the average, one of a step that was not holds the point where gradients are taken. The same
# run gives one adapter or another by eval_strategy; with save_steps=50 and eval_steps=100 every second
# checkpoint is of the other sort; and trainer.save_model() after training without evaluation saves the wrong
# ones. Nothing is logged. Way out: trainer.optimizer.eval() before saving (in a callback's on_step_end).
#
# Output seen (exit status 0):
#   transformers 5.24.0, schedulefree 1.4.1
#   never evaluated: the checkpoint holds the weights of training
#   evaluated at that step: the checkpoint holds the averaged weights
#   same seed, same rows: largest difference of a weight 0.0072
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if the two checkpoints differ as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "accelerate==1.15.0" \
    "schedulefree==1.4.1" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import sys, warnings
warnings.simplefilter("ignore")
from importlib.metadata import version
import torch, transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

transformers.logging.set_verbosity_error()
STEPS, WEIGHT = 20, "model.layers.0.self_attn.q_proj.weight"
generator = torch.Generator().manual_seed(1)
rows = [{"input_ids": ids, "labels": ids} for ids in torch.randint(0, 60, (40, 16), generator=generator)]

def outcome(evaluated):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(
        "qwen2", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=64))
    folder = f"{sys.argv[1]}/{evaluated}"
    arguments = TrainingArguments(
        folder, max_steps=STEPS, per_device_train_batch_size=2, learning_rate=1e-2, optim="schedule_free_adamw",
        lr_scheduler_type="constant", save_steps=STEPS, eval_strategy=evaluated, eval_steps=STEPS, use_cpu=True,
        report_to="none", disable_tqdm=True, logging_strategy="no")
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows[:4])
    trainer.train()
    saved = load_file(f"{folder}/checkpoint-{STEPS}/model.safetensors")[WEIGHT]
    optimizer, weight = trainer.optimizer.optimizer, model.get_parameter(WEIGHT)
    sorts = {}
    for name, change in (("averaged weights", optimizer.eval), ("weights of training", optimizer.train)):
        change()
        sorts[name] = weight.detach().clone()
    return saved, [name for name, own in sorts.items() if torch.allclose(saved, own, atol=1e-6)]

print(f"transformers {transformers.__version__}, schedulefree {version('schedulefree')}")
(without, first), (with_it, second) = outcome("no"), outcome("steps")
print(f"never evaluated: the checkpoint holds the {' and '.join(first)}")
print(f"evaluated at that step: the checkpoint holds the {' and '.join(second)}")
print(f"same seed, same rows: largest difference of a weight {(without - with_it).abs().max():.4f}")
sys.exit([first, second] != [["weights of training"], ["averaged weights"]])
PYTHON
"$work/venv/bin/python" "$work/check.py" "$work" 2>/dev/null | grep -v "^{\|^$\|Training completed"
