#!/usr/bin/env bash
# Gradient accumulation with a vision-language model on rows of text. Date: 2026-11-29
#
# Guess: since transformers 4.46 Trainer divides the loss of a step by the labels of the whole step, so two
# micro-batches of one row give the gradient of one batch of two rows. It does for language models, and the
# loss of Qwen2.5-VL is the same function and takes the same number.
#
# Behaviour seen: Qwen2.5-VL (as Gemma 3, PaliGemma, Qwen3-VL and others) says accepts_loss_kwargs = False.
# Trainer then averages the means of the micro-batches: a row of 2 labels weighs as much as one of 40, and
# the gradient depends on how a step is cut. Nothing is logged. Set to True on the model, the flag gives
# the right gradient, because the model passes the number on to its loss all the same.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, transformers 5.24.0
#   Qwen2: 1 x 2 rows and 2 x 1 row give the same gradient
#   Qwen2.5-VL: 1 x 2 rows and 2 x 1 row give other gradients
#   Qwen2.5-VL with the flag: 1 x 2 rows and 2 x 1 row give the same gradient
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if all three behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "accelerate==1.15.0" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys, tempfile
import torch, transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, Trainer, TrainingArguments

transformers.logging.set_verbosity_error()
TEXT = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, vocab_size=64)
VISION = dict(depth=1, hidden_size=16, out_hidden_size=32, intermediate_size=32, num_heads=2)
ROPE = dict(rope_type="default", mrope_section=[1, 1, 2], rope_theta=10000.0)

def text_model():
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **TEXT))

def seeing_model():
    config = AutoConfig.for_model("qwen2_5_vl", text_config=dict(TEXT, rope_parameters=ROPE), vision_config=VISION)
    return AutoModelForImageTextToText.from_config(config)

def flagged_model():
    model = seeing_model()
    model.accepts_loss_kwargs = True
    return model

def rows():
    generator = torch.Generator().manual_seed(1)
    found = []
    for labels in (40, 2):
        ids = torch.randint(0, 60, (42,), generator=generator)
        found.append({"input_ids": ids, "labels": torch.where(torch.arange(42) < 42 - labels, -100, ids)})
    return found

def gradient(build, size):
    torch.manual_seed(0)
    model = build()
    before = model.get_output_embeddings().weight.detach().clone()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=size, gradient_accumulation_steps=2 // size, max_steps=1,
            learning_rate=1.0, lr_scheduler_type="constant", optim="sgd", max_grad_norm=0.0, report_to="none",
            save_strategy="no", use_cpu=True, disable_tqdm=True, logging_strategy="no")
        Trainer(model=model, args=arguments, train_dataset=rows()).train()
    return before - model.get_output_embeddings().weight.detach()

def outcome(name, build):
    same = torch.allclose(gradient(build, 2), gradient(build, 1), rtol=1e-3, atol=1e-6)
    return f"{name}: 1 x 2 rows and 2 x 1 row give {'the same gradient' if same else 'other gradients'}"

print(f"python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}")
seen = [outcome("Qwen2", text_model), outcome("Qwen2.5-VL", seeing_model),
        outcome("Qwen2.5-VL with the flag", flagged_model)]
print("\n".join(seen))
sys.exit(seen != [
    "Qwen2: 1 x 2 rows and 2 x 1 row give the same gradient",
    "Qwen2.5-VL: 1 x 2 rows and 2 x 1 row give other gradients",
    "Qwen2.5-VL with the flag: 1 x 2 rows and 2 x 1 row give the same gradient",
])
PYTHON
"$work/venv/bin/python" "$work/check.py"
