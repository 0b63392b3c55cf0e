#!/usr/bin/env bash
# tsplanner 0.2.0: qwen2.5-7b, lora on bf16 · one GPU
# micro-batch 2 x accumulation 16 x 1 process = effective batch 32
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec axolotl train axolotl.yaml --launcher python
