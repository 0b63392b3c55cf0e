"""Environment variables that must be set before the training libraries are loaded."""

from __future__ import annotations

import os

DEFAULTS = {
    # Waiting threads sleep instead of spinning. With more runnable threads than cores (trials side
    # by side, a busy machine) spinning made a 1.2 s step take 4 to 50 s.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Everything is read from local folders; PEFT would otherwise ask a hub about the base model.
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Batches of many lengths would leave holes that no later tensor fits: a 7B LoRA on rows of 600
    # to 700 tokens reserved 71 GiB where its longest batch alone takes 52.
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    # CUDA counts devices as NVML does.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}


def set_defaults() -> None:
    """Set what the user has not set; call this before importing torch."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
