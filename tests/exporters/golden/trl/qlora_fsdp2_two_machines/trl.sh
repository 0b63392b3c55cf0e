#!/usr/bin/env bash
# tsplanner 0.2.0: llama-3.1-8b, lora on nf4-dq · FSDP2 x2 on each of 2 machines
# micro-batch 2 x accumulation 4 x 4 processes = effective batch 32
# Planned by formula: tsplanner itself was run on at most 2 GPUs of one machine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec trl sft --config trl.yaml --machine_rank "${MACHINE_RANK:?number this machine, from 0}" --main_process_ip "${MAIN_PROCESS_IP:?name the first machine}" --main_process_port "${MAIN_PROCESS_PORT:-29500}"
