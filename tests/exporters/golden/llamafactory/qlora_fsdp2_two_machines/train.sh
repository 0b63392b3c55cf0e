#!/usr/bin/env bash
# tsplanner 0.2.0: llama-3.1-8b, lora on nf4-dq · FSDP2 x2 on each of 2 machines
# micro-batch 2 x accumulation 4 x 4 processes = effective batch 32
# Planned by formula: tsplanner itself was run on at most 2 GPUs of one machine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export NPROC_PER_NODE=2
export NNODES=2
export NODE_RANK="${NODE_RANK:?number this machine, from 0}"
export MASTER_ADDR="${MASTER_ADDR:?name the first machine}"
export MASTER_PORT="${MASTER_PORT:-29500}"
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
python3 -c 'import sys; from datasets import load_dataset; load_dataset("json", data_files={"train": "rows/train.jsonl", "validation": "rows/test.jsonl"}).save_to_disk(sys.argv[1])' "tokenized-$NODE_RANK"
exec accelerate launch --config_file accelerate.yaml --machine_rank "$NODE_RANK" --main_process_ip "$MASTER_ADDR" --main_process_port "$MASTER_PORT" --module llamafactory.launcher train.yaml tokenized_path="tokenized-$NODE_RANK"
