"""Build the model of a plan, from a folder of weights or with random weights on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from memory_models.settings import DecoderKernels, LossKernel
from tsplanner.errors import TsplannerError
from tsplanner.install import Extra, install_command
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import HardwareSettings
from tsplanner.training.base_model.configuration import (
    DTYPES,
    compute_dtype,
    model_config,
    own_quantization,
    register_own_models,
    use_stored_form,
)
from tsplanner.training.base_model.drawing import random_model
from tsplanner.training.base_model.reading import read_weights
from tsplanner.training.eight_bit import loading as eight_bit


def training_device(hardware: HardwareSettings) -> torch.device:
    """The device of this process; raises TsplannerError if the plan's GPU is not here."""
    if hardware.accelerator == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TsplannerError(
            "The plan is for a GPU and PyTorch sees none here: make a plan for this machine "
            "(tsplanner plan --cpu), or install PyTorch with CUDA."
        )
    from os import environ

    device = torch.device("cuda", int(environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def build_model(plan: Plan, device: torch.device) -> Any:
    """The base model in ``model_dtype`` (quantised if the plan says so) on ``device``.

    Raises TsplannerError: a package is missing, or the checkpoint does not fit its config.
    """
    config = ready_config(plan)
    if plan.model.has_weights:
        model = read_weights(plan, config, device, own_quantization(plan))
    else:
        model = random_model(plan, config, device)
    if plan.hardware.base.multiplies_8bit:
        eight_bit.replace_rounded(model, DTYPES[plan.hardware.base.model_dtype])
    ready_base(model, plan)
    if plan.hardware.base.upcasts:
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=plan.hardware.batch.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    return model


def ready_config(plan: Plan) -> Any:
    """The configuration of a plan's model, once what its base needs is known to be there.

    Raises TsplannerError: a package is missing.
    """
    register_own_models()
    _check_packages(plan.hardware)
    config = model_config(plan.model)
    use_stored_form(config, plan)
    return config


def ready_base(model: Any, plan: Plan) -> None:
    """Mark a base whose weights are there as one that adapters are trained on."""
    model.config.use_cache = False
    if plan.hardware.base.quantization is not None:
        # A quantised base is never trained; PEFT's preparation would say so, where it is called.
        model.requires_grad_(False)
        keep_packed(model, compute_dtype(plan.hardware))


def keep_packed(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep 4-bit weights as they are through evaluations, and dequantise them to one dtype.

    On a CPU with AVX512-BF16 bitsandbytes repacks a 4-bit weight for inference as soon as it is
    evaluated. Training goes on after an evaluation, and then fails on the repacked weight. And it
    dequantises a weight to the dtype that was packed, then casts the whole matrix to the dtype of
    the product.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
            module.weight.quant_state.dtype = dtype


def _check_packages(hardware: HardwareSettings) -> None:
    from importlib.util import find_spec

    kernels = hardware.kernels
    if kernels.decoder_kernels is DecoderKernels.LIGER or kernels.loss_kernel is LossKernel.LIGER:
        raise TsplannerError(
            "The plan names Liger's kernels, which tsplanner sizes and does not run: plan again "
            "with --kernels fused and --loss-kernel fused."
        )
    if hardware.base.needs_bitsandbytes and find_spec("bitsandbytes") is None:
        raise TsplannerError(
            f"Quantisation {hardware.base.quantization} needs bitsandbytes: "
            f"install it with {install_command(Extra.QUANT)}."
        )
    if hardware.sharding.zero_stage and find_spec("deepspeed") is None:
        raise TsplannerError(
            f"ZeRO stage {hardware.sharding.zero_stage} needs deepspeed: "
            f"install it with {install_command(Extra.DEEPSPEED)}."
        )
