#!/usr/bin/env bash
# What transformers' Trainer does around a micro-batch besides forward and backward. Date: 2026-11-30
#
# Guess: training mode is set when training begins and after an evaluation, the weights are counted once, and a
# further micro-batch of an accumulated step costs the host nothing that grows with the number of modules.
#
# Behaviour seen: before every micro-batch model.train() visits every module, although all of them train already,
# and after it every module is visited again to count the weights for total_flos, at any logging_steps and with
# report_to none. A 14B with LoRA on all linears has 4,000 modules: a visit took 29 ms on one CPU core, so that a
# step of 16 micro-batches spends a second on both. A GPU with enough queued work hides it; one that waits for
# the host, or whose step begins with an empty queue, does not (a schedule that runs all micro-batches layer by
# layer went from 0.93 to 0.98 of the usual one's speed on an H200 once both were spared).
# Way out: shadow model.train while all modules train, and count the weights once in floating_point_ops.
#
# Output seen (exit status 0): the lines at the end of this file.
#
# Needs a pip index; no GPU and no model download (a random Llama of two layers).
# Exits 0 only if Trainer behaves as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1
cat >"$work/check.py" <<'PYTHON'
import sys
from collections import Counter
import torch, transformers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainingArguments

model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64,
                                     num_hidden_layers=2, num_attention_heads=4))
modules = len(list(model.modules()))
seen = Counter()
own_train, own_count = nn.Module.train, type(model).num_parameters

def train(self, mode=True):
    seen["set to training mode" if mode else "set to evaluation mode"] += 1
    return own_train(self, mode)

def num_parameters(self, *args, **options):
    seen["counts of the weights"] += 1
    return own_count(self, *args, **options)

class Step(Trainer):
    def training_step(self, *args, **options):
        self.batches = getattr(self, "batches", 0) + 1
        return super().training_step(*args, **options)

rows = [{"input_ids": torch.arange(8), "labels": torch.arange(8)} for _ in range(64)]
arguments = TrainingArguments(output_dir=sys.argv[1], per_device_train_batch_size=1, max_steps=4,
                              gradient_accumulation_steps=8, report_to="none", logging_strategy="no",
                              save_strategy="no", use_cpu=True, disable_tqdm=True)
trainer = Step(model=model, args=arguments, train_dataset=rows)
trainer.remove_callback(PrinterCallback)
model.train()
nn.Module.train, type(model).num_parameters = train, num_parameters
trainer.train()
print(f"transformers {transformers.__version__}, {trainer.batches} micro-batches of 4 steps")
visits = seen["set to training mode"]
print("training mode, visits of each module:", visits // modules)
print("counts of all weights:", seen["counts of the weights"])
assert visits // modules >= trainer.batches and seen["counts of the weights"] >= trainer.batches
PYTHON
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "accelerate==1.15.0" "numpy==2.4.6"
"$work/venv/bin/python" "$work/check.py" "$work/out" 2>/dev/null | tee "$work/seen"
diff "$work/seen" - <<'SEEN'
transformers 5.24.0, 32 micro-batches of 4 steps
training mode, visits of each module: 32
counts of all weights: 32
SEEN
