#!/usr/bin/env bash
# tsplanner 0.2.0: smollm2-135m, lora on fp32 · CPU
# micro-batch 2 x accumulation 2 x 1 process = effective batch 4
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
exec trl sft --config trl.yaml
