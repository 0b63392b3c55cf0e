"""The settings that bytes depend on, as small composed records.

Field names are the keys of ``tsplanner estimate``.
"""

from memory_models.settings.choices import (
    ALL_LINEAR,
    EMBEDDING,
    HEAD,
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
)
from memory_models.settings.counts import at_least_one
from memory_models.settings.flat import changed, field_types, flat, from_flat, paths
from memory_models.settings.method import Method
from memory_models.settings.parts import (
    Arithmetic,
    HeadSettings,
    LayerSettings,
    StateSettings,
)
from memory_models.settings.records import (
    BaseStorage,
    BatchLayout,
    DeepSpeedConfig,
    Kernels,
    Sharding,
)
from memory_models.settings.streaming import Streaming, input_stays, resident_layers
from memory_models.settings.training import TrainingSettings, effective_settings

__all__ = [
    "ALL_LINEAR",
    "EMBEDDING",
    "HEAD",
    "Arithmetic",
    "Attention",
    "BaseStorage",
    "BatchLayout",
    "DecoderKernels",
    "DeepSpeedConfig",
    "Dtype",
    "FinetuningType",
    "HeadSettings",
    "Kernels",
    "LayerSettings",
    "LossKernel",
    "Method",
    "Optimizer",
    "Quantization",
    "Sharding",
    "StateSettings",
    "Streaming",
    "TrainingSettings",
    "at_least_one",
    "changed",
    "effective_settings",
    "field_types",
    "flat",
    "from_flat",
    "input_stays",
    "paths",
    "resident_layers",
]
