#!/usr/bin/env bash
# tsplanner 0.2.0: chatts-14b, lora on fp16 · ZeRO-3 x2
# micro-batch 2 x accumulation 8 x 2 processes = effective batch 32
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export NPROC_PER_NODE=2
export FORCE_TORCHRUN=1
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec llamafactory-cli train train.yaml
