"""Rules of streamed layers: what cannot be trained while layers pass through the device."""

from __future__ import annotations

from memory_models.settings import FinetuningType
from tsplanner.models.families import NOT_STREAMED
from tsplanner.planner.explain.reasons import Data
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings

STREAMED_METHODS = frozenset({FinetuningType.LORA, FinetuningType.RSLORA, FinetuningType.DORA})


def streamed_method(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """The base is trained, or AdaLoRA changes its adapters in the middle of a run."""
    method = request.learning.method.finetuning_type
    refused = hardware.streaming.streams and method not in STREAMED_METHODS
    return {"method": method} if refused else None


def streamed_vocabulary(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Adapters of several ranks, or on embedding and lm_head."""
    return {} if hardware.streaming.streams and not request.learning.method.is_uniform else None


def streamed_setting(_: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Another hardware setting that streaming does not go with."""
    if not hardware.streaming.streams:
        return None
    batch, sharding = hardware.batch, hardware.sharding
    against = {
        f"--zero-stage {sharding.zero_stage}": sharding.zero_stage > 0,
        "--upcast-unquantized on": hardware.base.upcasts,
        f"--stream-from-files on and --quantization {hardware.base.quantization}": (
            hardware.streaming.stream_from_files and hardware.base.quantization is not None
        ),
        "--gradient-checkpointing off": not batch.gradient_checkpointing,
        f"--checkpointed-layers {batch.checkpointed_layers}": batch.checkpointed_layers is not None,
    }
    found = next((flag for flag, holds in against.items() if holds), None)
    return None if found is None else {"setting": found}


def streamed_family(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """A family whose layers cannot be run outside the model."""
    kind = request.model.model_type
    text = request.architecture.model_type
    refused = hardware.streaming.streams and {kind, text} & NOT_STREAMED
    return {"model_type": kind} if refused else None


def streamed_number(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """More layers than the model has."""
    wanted, have = hardware.streaming.most, request.architecture.num_hidden_layers
    return {"wanted": wanted, "have": have} if wanted > have else None


def streamed_processes(_: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Numbers of layers for another number of processes."""
    streaming, used = hardware.streaming, hardware.sharding.processes_per_node
    if not streaming.differs or len(streaming.numbers) == used:
        return None
    return {"numbers": streaming.words, "named": len(streaming.numbers), "used": used}
