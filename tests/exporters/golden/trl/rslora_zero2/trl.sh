#!/usr/bin/env bash
# tsplanner 0.2.0: mistral-7b, rslora on bf16 · ZeRO-2 x4
# micro-batch 2 x accumulation 4 x 4 processes = effective batch 32
# Planned by formula: tsplanner itself was run on at most 2 GPUs of one machine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec trl sft --config trl.yaml
