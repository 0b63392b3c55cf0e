#!/usr/bin/env bash
# tsplanner 0.2.0: qwen2.5-7b, lora on bf16 · FSDP2 x2
# micro-batch 2 x accumulation 8 x 2 processes = effective batch 32
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export NPROC_PER_NODE=2
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
python3 -c 'import sys; from datasets import load_dataset; load_dataset("json", data_files={"train": "rows/train.jsonl", "validation": "rows/test.jsonl"}).save_to_disk(sys.argv[1])' tokenized
exec accelerate launch --config_file accelerate.yaml --module llamafactory.launcher train.yaml
