"""DeepSpeed's JSON configuration of a plan, for Trainer, accelerate and LLaMA-Factory.

Bucket sizes are ``auto``, for which transformers takes hidden_size squared. DeepSpeed's default
would allocate 5e8 elements per process even if only an adapter is trained. There is no
``allgather_bucket_size``, because DeepSpeed gathers in place and ignores it.
"""

from __future__ import annotations

import json
from typing import Any

from memory_models.settings import Dtype, effective_settings
from memory_models.sharding.deepspeed_config import SUB_GROUP_ELEMENTS, live_elements
from memory_models.states.weights import base_weight_bytes
from memory_models.units import GIB
from tsplanner.errors import TsplannerError
from tsplanner.planner.devices import used_devices
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import HardwareSettings, training_settings

DEFAULT_LIVE_ELEMENTS = 1_000_000_000
"""DeepSpeed's default limit, for a model whose decoder layers are not known."""


def render(plan: Plan) -> dict[str, Any]:
    """The configuration: the user's own, else tsplanner's; raises ValueError without ZeRO."""
    hardware = plan.hardware
    if hardware.sharding.zero_stage == 0:
        raise ValueError("zero_stage 0 needs no DeepSpeed configuration")
    if (own := hardware.sharding.deepspeed) is not None:
        document: dict[str, Any] = json.loads(own.text)
        return document
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        # DeepSpeed compiles its CPU optimizer at the first use, which needs a compiler. For the few
        # parameters of an adapter the plan's own optimizer is fast enough.
        "zero_force_ds_cpu_optimizer": False,
        "fp16": {
            "enabled": hardware.base.autocast is Dtype.FP16,
            "loss_scale": 0,
            "initial_scale_power": 16,
            "loss_scale_window": 1000,
            "hysteresis": 2,
            "min_loss_scale": 1,
        },
        "bf16": {"enabled": hardware.base.autocast is Dtype.BF16},
        "zero_optimization": zero_optimization(
            hardware, live_elements(plan.architecture, hardware.base.quantization)
        ),
    }


def zero_optimization(
    hardware: HardwareSettings, live: int = DEFAULT_LIVE_ELEMENTS
) -> dict[str, Any]:
    """The section ``zero_optimization``: what is sharded, and what lies in host memory.

    ``live``: elements that ZeRO-3 may hold gathered. ``overlap_comm`` is off, because it would keep
    every bucket twice; ZeRO-3's all-gathers overlap with computation anyway (NCCL has its own
    streams).
    """
    block: dict[str, Any] = {
        "stage": hardware.sharding.zero_stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto",
    }
    if hardware.sharding.zero_stage < 3:
        block["round_robin_gradients"] = True
    else:
        block |= {
            "sub_group_size": SUB_GROUP_ELEMENTS,
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            # DeepSpeed's limit of a billion elements would keep a small model gathered whole.
            "stage3_max_live_parameters": live,
            "stage3_max_reuse_distance": live,
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    if hardware.sharding.offload_optimizer:
        block["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if hardware.sharding.offload_param:
        block["offload_param"] = {"device": "cpu", "pin_memory": True}
    return block


def whole_base_notes(plan: Plan, trainer: str, *, force: bool) -> list[str]:
    """A sentence on a 4-bit base that another trainer holds whole before it is shared out.

    transformers partitions no quantised model while it is read, and puts it on the process's own
    GPU (modeling_utils.py, ``get_init_context``; quantizer_bnb_4bit.py). Other plans: none.

    Raises:
        TsplannerError: a GPU has less memory free than that, without force.
    """
    hardware = plan.hardware
    sliced = hardware.sharding.shards_base and hardware.base.has_4bit
    if not (hardware.partitions_packed or sliced):
        return []
    cuts = "FSDP2 cuts it" if sliced else "DeepSpeed partitions it"
    has_cut = "FSDP2 has cut it" if sliced else "DeepSpeed has partitioned it"
    settings = effective_settings(training_settings(plan.learning, plan.hardware, 1))
    whole = base_weight_bytes(plan.architecture, settings.states)
    free = min((each.free_bytes for each in used_devices(plan.machine, plan.hardware)), default=0)
    if free and whole > free and not force:
        raise TsplannerError(
            f"{trainer} loads the whole 4-bit base, {whole / GIB:.1f} GiB, on every GPU before "
            f"{cuts}, and {free / GIB:.1f} GiB are free: train with tsplanner, "
            "which builds it in host memory, or give --force."
        )
    kept = ""
    if not sliced:
        kept = (
            ", and its linears again in every step, since bitsandbytes keeps what is gathered for "
            "it until backward"
        )
    return [
        f"Every GPU holds the whole 4-bit base, {whole / GIB:.1f} GiB, until {has_cut}{kept}; "
        "tsplanner does not. Not run with this trainer on a GPU."
    ]
