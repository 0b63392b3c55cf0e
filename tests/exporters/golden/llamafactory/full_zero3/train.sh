#!/usr/bin/env bash
# tsplanner 0.2.0: qwen2.5-7b, full on bf16 · ZeRO-3 x8
# micro-batch 1 x accumulation 4 x 8 processes = effective batch 32
# Planned by formula: tsplanner itself was run on at most 2 GPUs of one machine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export NPROC_PER_NODE=8
export FORCE_TORCHRUN=1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
python3 -c 'import sys; from datasets import load_dataset; load_dataset("json", data_files={"train": "rows/train.jsonl", "validation": "rows/test.jsonl"}).save_to_disk(sys.argv[1])' tokenized
exec llamafactory-cli train train.yaml
