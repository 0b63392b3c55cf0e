"""A flag of a hardware setting pins the field of its name."""

from __future__ import annotations

import pytest

from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    LossKernel,
    Optimizer,
    Quantization,
)
from tests.support.flags import parsed
from tsplanner.commands.inputs.hardware_flags import PINNED, pins
from tsplanner.commands.inputs.keywords import options
from tsplanner.errors import UsageError
from tsplanner.planner.request import Pins


def test_every_hardware_flag_pins_its_field() -> None:
    """Words become the enums that the settings have."""
    words = (
        "--world-size 2 --micro-batch-size 4 --gradient-checkpointing on --checkpointed-layers 5 "
        "--attention eager --loss-kernel fused --optimizer adamw_torch --kernels fused "
        "--model-dtype fp32 --quantization nf4 --zero-stage 3 --offload-optimizer on "
        "--offload-param off --cpu-threads 3 --upcast-unquantized on"
    )
    found = pins(parsed(*words.split()))
    assert found == Pins(
        world_size=2,
        micro_batch_size=4,
        gradient_checkpointing=True,
        checkpointed_layers=5,
        attention=Attention.EAGER,
        loss_kernel=LossKernel.FUSED,
        optimizer=Optimizer.ADAMW_TORCH,
        decoder_kernels=DecoderKernels.FUSED,
        model_dtype=Dtype.FP32,
        quantization=Quantization.NF4,
        zero_stage=3,
        offload_optimizer=True,
        offload_param=False,
        cpu_threads=3,
        upcast_unquantized=True,
    )
    # Rows that are packed go into passes one by one.
    packed = pins(parsed("--token-budget", "4096"))
    assert packed == Pins(token_budget=4096)
    streamed = pins(parsed("--streamed-layers", "9", "--inputs-on-device", "all"))
    more = parsed("--passes-together", "4", "--stream-from-files", "on")
    streamed = streamed.with_(**pins(more).values)
    assert streamed == Pins(
        streamed_layers=9, inputs_on_device=None, passes_together=4, stream_from_files=True
    )
    # A base that FSDP2 shares out is not shared by ZeRO.
    shared = pins(parsed("--fsdp", "on", "--fsdp-per-host", "off"))
    assert shared == Pins(fsdp=True, fsdp_per_host=False)
    every = {*found.values, *packed.values, *streamed.values, *shared.values}
    assert every == set(PINNED)


def test_none_and_all_pin_a_field_to_nothing() -> None:
    """A plain base is a wish of its own, and so is checkpointing all layers or none."""
    found = pins(parsed("--quantization", "none", "--checkpointed-layers", "all"))
    assert found == Pins(quantization=None, checkpointed_layers=None)
    assert "quantization" in found
    assert pins(parsed("--inputs-on-device", "all")) == Pins(inputs_on_device=None)
    assert pins(parsed("--inputs-on-device", "0")) == Pins(inputs_on_device=0)


def test_what_is_switched_off_is_pinned_as_well() -> None:
    """Off and 0 are values, not absences."""
    found = pins(parsed("--gradient-checkpointing", "off", "--zero-stage", "0"))
    assert found == Pins(gradient_checkpointing=False, zero_stage=0)


def test_kernels_that_a_verb_has_not_are_refused_with_those_that_it_has() -> None:
    """Liger's are sized by estimate alone."""
    choices = r"'liger' \(choose from 'reference', 'fused', 'compiled'\)"
    with pytest.raises(UsageError, match=choices):
        options("plan", ["--kernels", "liger"])
