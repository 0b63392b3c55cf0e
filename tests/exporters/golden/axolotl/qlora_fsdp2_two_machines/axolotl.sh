#!/usr/bin/env bash
# tsplanner 0.2.0: llama-3.1-8b, lora on nf4-dq · FSDP2 x2 on each of 2 machines
# micro-batch 2 x accumulation 4 x 4 processes = effective batch 32
# Planned by formula: tsplanner itself was run on at most 2 GPUs of one machine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec axolotl train axolotl.yaml --launcher torchrun -- --nnodes 2 --rdzv-backend c10d --rdzv-id "${RDZV_ID:-tsplanner}" --rdzv-endpoint "${RDZV_ENDPOINT:?name host:port of the first machine, the same on every machine}" --nproc-per-node 2
