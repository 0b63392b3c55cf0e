#!/usr/bin/env bash
# tsplanner 0.2.0: mistral-7b, rslora on bf16 · ZeRO-2 x4 + optimizer offload
# micro-batch 2 x accumulation 4 x 4 processes = effective batch 32
# Planned by formula: tsplanner itself was run on at most 2 GPUs of one machine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export NPROC_PER_NODE=4
export FORCE_TORCHRUN=1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
python3 -c 'import sys; from datasets import load_dataset; load_dataset("json", data_files={"train": "rows/train.jsonl", "validation": "rows/test.jsonl"}).save_to_disk(sys.argv[1])' tokenized
exec llamafactory-cli train train.yaml
