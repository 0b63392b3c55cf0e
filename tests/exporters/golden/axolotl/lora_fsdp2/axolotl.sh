#!/usr/bin/env bash
# tsplanner 0.2.0: qwen2.5-7b, lora on bf16 · FSDP2 x2
# micro-batch 2 x accumulation 8 x 2 processes = effective batch 32
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec axolotl train axolotl.yaml --launcher torchrun -- --standalone --nproc-per-node 2
