"""One base model for several probes in a row: loading it takes longer than probing it.

Only adapters on an unsharded base can be taken off again; every other job builds its own.
"""

from __future__ import annotations

import gc
import json
from typing import Any

import torch

from tsplanner.planner.plan import Plan
from tsplanner.training.kernels.fused_kernels import use_own_kernels
from tsplanner.training.model import build_model


def base_key(plan: Plan) -> str | None:
    """What two plans must share to stand on one base; None: the base cannot be shared.

    Preparing a quantised base for checkpointing leaves hooks on it, so there that counts too.
    """
    hardware = plan.hardware
    if not plan.learning.method.finetuning_type.uses_adapter or hardware.sharding.zero_stage:
        return None
    checkpointed = hardware.batch.gradient_checkpointing if hardware.base.quantization else None
    return json.dumps(
        [
            plan.model.config if not plan.model.has_weights else plan.model.path,
            hardware.base.model_dtype,
            hardware.base.autocast,
            hardware.base.quantization,
            hardware.kernels.attention,
            checkpointed,
        ],
        sort_keys=True,
    )


class KeptBase:
    """The base of the last job, as long as the next one can use it."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.model: Any = None

    def take(self, plan: Plan, device: torch.device) -> Any:
        """The base of a plan, built unless it is at hand."""
        key = base_key(plan)
        if self.model is None or key is None or key != self.key:
            self.drop()
            self.model, self.key = build_model(plan, device), key
        return self.model

    def clear(self) -> None:
        """Take off what the last job put on the base, or let go of a base that cannot be kept."""
        if self.key is None:
            self.model = None
        if self.model is not None:
            self._undress()
        release()

    def _undress(self) -> None:
        """The bare base again: no adapter, no fused loss, no checkpointing, no gradient."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        model = self.model
        for name, module in list(model.named_modules()):
            if isinstance(module, BaseTunerLayer):
                model.set_submodule(name, module.get_base_layer())
        model.__dict__.pop("peft_config", None)
        use_own_kernels(model)  # the fused loss's forward, too
        model.gradient_checkpointing_disable()

    def drop(self) -> None:
        """Let go of the base."""
        self.key = self.model = None
        release()


def release() -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
