"""Environment variables that must be set before the training libraries are loaded."""

from __future__ import annotations

import os

DEFAULTS = {
    # Waiting OpenMP threads sleep instead of spinning. With more runnable threads than cores
    # (several trials at once, a busy machine) spinning made a step of 1.2 s take 4 to 50 s.
    "OMP_WAIT_POLICY": "PASSIVE",
    # All files are local. PEFT would otherwise ask the hub about the base model when it saves an
    # adapter.
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Batches of many lengths leave holes in fixed segments that no later tensor fits: a 7B LoRA on
    # rows of 600 to 700 tokens reserved 71 GiB, while its longest batch takes 52 GiB.
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    # CUDA then numbers the devices as NVML does; plans and memory readings use NVML's numbers.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}


def set_defaults() -> None:
    """Set the variables that the user has not set; call this before importing torch."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
