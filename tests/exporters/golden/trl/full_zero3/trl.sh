#!/usr/bin/env bash
# tsplanner 0.2.0: qwen2.5-7b, full on bf16 · ZeRO-3 x8
# micro-batch 1 x accumulation 4 x 8 processes = effective batch 32
# Planned by formula: tsplanner itself was run on at most 2 GPUs of one machine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec trl sft --config trl.yaml
