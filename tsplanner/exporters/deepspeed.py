"""DeepSpeed's JSON configuration of a plan, for Trainer, accelerate or LLaMA-Factory alike.

Bucket sizes are ``auto``: transformers then takes hidden_size squared, where DeepSpeed's own
default allocates 5e8 elements a rank even if only an adapter is trained.
"""

from __future__ import annotations

from typing import Any

from memory_models.settings import Dtype
from tsplanner.planner.plan import HardwareSettings, Plan


def render(plan: Plan) -> dict[str, Any]:
    """The configuration; raises ValueError for a plan without ZeRO."""
    hardware = plan.hardware
    if hardware.zero_stage == 0:
        raise ValueError("zero_stage 0 needs no DeepSpeed configuration")
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        # The CPU optimizer is compiled at its first use; the plan's own optimizer is as good for
        # the few parameters of an adapter.
        "zero_force_ds_cpu_optimizer": False,
        "fp16": {
            "enabled": hardware.autocast is Dtype.FP16,
            "loss_scale": 0,
            "initial_scale_power": 16,
            "loss_scale_window": 1000,
            "hysteresis": 2,
            "min_loss_scale": 1,
        },
        "bf16": {"enabled": hardware.autocast is Dtype.BF16},
        "zero_optimization": zero_optimization(hardware),
    }


def zero_optimization(hardware: HardwareSettings) -> dict[str, Any]:
    """The block that says what is sharded and what lies in host memory."""
    block: dict[str, Any] = {
        "stage": hardware.zero_stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "allgather_bucket_size": 500_000_000,
        "reduce_bucket_size": "auto",
        "round_robin_gradients": True,
    }
    if hardware.offload_optimizer:
        block["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if hardware.zero_stage == 3:
        block |= {
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_max_live_parameters": 1_000_000_000,
            "stage3_max_reuse_distance": 1_000_000_000,
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    if hardware.offload_param:
        block["offload_param"] = {"device": "cpu", "pin_memory": True}
    return block
