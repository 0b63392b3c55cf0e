"""Constants in round numbers, and settings of a toy, for estimates worked out by hand."""

from __future__ import annotations

from memory_models.calibration import DEFAULT
from memory_models.settings import Dtype, TrainingSettings, changed, from_flat

FITTING = from_flat(TrainingSettings, lora_rank=2, sequence_length=64)
FP16 = changed(FITTING, model_dtype=Dtype.FP16, autocast=Dtype.FP16)
EXACT = changed(
    DEFAULT,
    workspace_bytes={9: 100},
    context_bytes={9: 1000},
    context_spread_bytes=10,
    distributed_bytes={
        "alone": {1: 0},
        "ddp": {2: 500},
        "zero": {1: 300, 2: 600},
        "zero-3": {1: 200},
    },
    distributed_spread_bytes={1: 0, 3: 70},
    host_distributed_bytes={"alone": 0, "ddp": 40, "zero": 50, "zero-3": 60},
    host_runtime_bytes=7000,
    host_runtime_spread_bytes=100,
    measured_generations=frozenset({9}),
)
"""Round numbers for what a driver and libraries take."""
