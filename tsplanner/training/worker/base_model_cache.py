"""A cache of one base model for several probes in a row, since loading takes longer than probing.

Only adapters on an unsharded base can be removed again; every other job builds its own base, for
which the kept one makes room.
"""

from __future__ import annotations

import gc
import json
from typing import Any

import torch

from tsplanner.planner.plan import Plan
from tsplanner.training.base_model.build import build_model
from tsplanner.training.kernels.compiled.install import use_own_forwards


def base_key(plan: Plan) -> str | None:
    """The settings that plans with a common base must share; None: the base cannot be shared.

    For a quantised base whose unquantised parts are cast to fp32 they include checkpointing,
    because PEFT's preparation (prepare_model_for_kbit_training) leaves hooks on the base if
    checkpointing is on.
    """
    hardware = plan.hardware
    sharded = hardware.sharding.zero_stage or hardware.sharding.shards_base
    elsewhere = sharded or hardware.streaming.streams
    if not plan.learning.method.finetuning_type.uses_adapter or elsewhere:
        return None
    checkpointed = hardware.batch.gradient_checkpointing if hardware.base.upcasts else None
    return json.dumps(
        [
            plan.model.config if not plan.model.has_weights else plan.model.path,
            hardware.base.model_dtype,
            hardware.base.autocast,
            hardware.base.quantization,
            hardware.base.upcasts,
            hardware.kernels.attention,
            hardware.batch.is_packed,
            checkpointed,
        ],
        sort_keys=True,
    )


class KeptBase:
    """Keeps the base of the last job while the next job can use it."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.model: Any = None

    def take(self, plan: Plan, device: torch.device) -> Any:
        """The base of a plan, which is built unless the kept base fits."""
        self.make_room(plan)
        if self.model is None:
            self.model, self.key = build_model(plan, device), base_key(plan)
        return self.model

    def make_room(self, plan: Plan) -> None:
        """Free a base that a plan cannot use: two may not fit beside each other."""
        if self.key is None or self.key != base_key(plan):
            self.drop()

    def clear(self) -> None:
        """Restore the bare base after a job, or free a base that cannot be shared."""
        if self.key is None:
            self.model = None
        if self.model is not None:
            self._undress()
        release()

    def _undress(self) -> None:
        """Remove adapters, fused kernels, the fused loss and checkpointing from the base."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        model = self.model
        for name, module in list(model.named_modules()):
            if isinstance(module, BaseTunerLayer):
                model.set_submodule(name, module.get_base_layer())
        # PEFT (tuners_utils.py) would else count the next adapter as a second one.
        model.__dict__.pop("peft_config", None)
        use_own_forwards(model)  # this also removes the forward of the fused loss
        model.gradient_checkpointing_disable()

    def drop(self) -> None:
        """Free the base."""
        self.key = self.model = None
        release()


def release() -> None:
    """Free objects in reference cycles, and return unused segments to the driver."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
