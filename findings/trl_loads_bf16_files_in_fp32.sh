#!/usr/bin/env bash
# The precision of a model that SFTTrainer loads by name. Date: 2026-11-30
#
# Guess: SFTTrainer("folder") loads the folder as transformers does. Since version 5 from_pretrained takes the
# precision of the files, so that a model stored in bf16 is trained in bf16 (SFTConfig has bf16 on by default),
# as it is when one loads it oneself and hands it over.
#
# Behaviour seen: SFTTrainer loads it in fp32 unless model_init_kwargs names a dtype, and so does `trl sft`
# (ModelConfig.dtype is "float32"). bf16 is autocast alone. The same script takes twice the bytes for a frozen
# base, and for a model that is trained whole also for gradients and moments, as it names the model or loads it.
# Nothing is logged. Way out: model_init_kwargs={"dtype": "auto"}, or --dtype auto.
#
# Output seen (exit status 0):
#   python 3.11.7, torch 2.13.0+cpu, transformers 5.24.0, trl 1.16.0
#   from_pretrained: torch.bfloat16
#   SFTTrainer by name: torch.float32
#   SFTTrainer by name, dtype auto: torch.bfloat16
#   SFTTrainer of a model: torch.bfloat16
#   ModelConfig().dtype: float32
#
# Needs a pip index that offers the CPU build of torch; no GPU and no model download.
# Exits 0 only if all five behave as above.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TQDM_DISABLE=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "torch==2.13.0+cpu" "transformers==5.24.0" "accelerate==1.15.0" "trl==1.16.0" "numpy==2.4.6"
cat >"$work/check.py" <<'PYTHON'
import platform, sys
import torch, transformers, trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import ModelConfig, SFTConfig, SFTTrainer

transformers.logging.set_verbosity_error()
folder = f"{sys.argv[1]}/model"
config = Qwen2Config(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
                     num_key_value_heads=2, vocab_size=64)
Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(64)}, unk_token="w0"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w1", pad_token="w2")
tokenizer.save_pretrained(folder)
rows = Dataset.from_dict({"text": ["w3 w4 w5", "w6 w7"]})

def trained(model, **kwargs):
    settings = SFTConfig(output_dir=f"{sys.argv[1]}/out", report_to="none", use_cpu=True, **kwargs)
    return SFTTrainer(model=model, args=settings, train_dataset=rows, processing_class=tokenizer).model.dtype

print(f"python {platform.python_version()}, torch {torch.__version__}, "
      f"transformers {transformers.__version__}, trl {trl.__version__}")
loaded = AutoModelForCausalLM.from_pretrained(folder)
found = {
    "from_pretrained": loaded.dtype,
    "SFTTrainer by name": trained(folder),
    "SFTTrainer by name, dtype auto": trained(folder, model_init_kwargs={"dtype": "auto"}),
    "SFTTrainer of a model": trained(loaded),
    "ModelConfig().dtype": ModelConfig().dtype,
}
for what, dtype in found.items():
    print(f"{what}: {dtype}")
half, full = torch.bfloat16, torch.float32
sys.exit(list(found.values()) != [half, full, half, half, "float32"])
PYTHON
"$work/venv/bin/python" -W ignore "$work/check.py" "$work"
