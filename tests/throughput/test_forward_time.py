"""Seconds of a forward, which is what an evaluation runs."""

from __future__ import annotations

import pytest

from memory_models.settings import (
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)
from tests.support.rig import HOPPER, machine
from tsplanner.models.source import read_model
from tsplanner.throughput.flops import forward_flops
from tsplanner.throughput.forward_time import forward_time
from tsplanner.throughput.rates import rates_of
from tsplanner.throughput.step_time import gather_seconds, step_time

MODEL = read_model("qwen2.5-7b").architecture
OWN = {"loss_kernel": LossKernel.FUSED, "kernels": DecoderKernels.FUSED}
ROW = from_flat(TrainingSettings, sequence_length=340, gradient_checkpointing=False, **OWN)
RATES = rates_of(machine(HOPPER, HOPPER))


def test_a_forward_takes_two_operations_per_weight_and_token() -> None:
    """6.53e9 weights in linears and 0.54e9 in the head, and 2 S HA of attention per layer."""
    weights = 28 * (3584 * 3584 * 2 + 3584 * 512 * 2 + 3 * 3584 * 18944) + 3584 * 152064
    adapters = 28 * 8 * (4 * 3584 + 2 * (3584 + 512) + 3 * (3584 + 18944))
    pairs = 28 * 2 * 340 * 3584
    assert forward_flops(MODEL, ROW) == pytest.approx(340 * (2 * (weights + adapters) + pairs))


def test_an_evaluation_of_a_short_row_waits_for_the_host() -> None:
    """A 7B LoRA on an H200 took 0.042 s per held-out row of 340 tokens, without the slack that
    the constant of issuing has for slower hosts (2026-11-29).
    """
    found = forward_time(MODEL, ROW, RATES)
    assert found.bound_by_launch
    assert found.seconds == pytest.approx(0.042, rel=0.15)
    assert found.optimizer == found.communication == found.offload == 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient_checkpointing": True},
        {"finetuning_type": FinetuningType.FULL},
        {"sequence_length": 4096},
    ],
)
def test_a_forward_is_a_part_of_a_step(changes: dict[str, object]) -> None:
    """In every kind of work."""
    settings = changed(ROW, **changes)  # type: ignore[arg-type]
    forward, step = forward_time(MODEL, settings, RATES), step_time(MODEL, settings, RATES)
    assert 0 < forward.matrix < step.matrix
    assert 0 < forward.memory < step.memory
    assert 0 < forward.launch < step.launch


def test_packed_weights_are_gathered_without_their_constants() -> None:
    """Of two processes each lacks half of what is not on both: half a byte per weight of a linear,
    two per element of embedding, head, norms and biases.
    """
    packed = changed(
        ROW,
        kernels=DecoderKernels.REFERENCE,
        zero_stage=3,
        world_size=2,
        quantization=Quantization.NF4_DQ,
        model_dtype=Dtype.BF16,
    )
    weights = 28 * (3584 * 3584 * 2 + 3584 * 512 * 2 + 3 * 3584 * 18944)
    others = 2 * 3584 * 152064 + 3584 + 28 * (2 * 3584 + 3584 + 2 * 512)
    expected = (weights / 2 + 2 * others) / 2 / RATES.links.between_gpus
    found = gather_seconds(MODEL, effective_settings(packed), RATES)
    assert found == pytest.approx(expected, rel=1e-3)


def test_weights_are_gathered_and_fetched_once() -> None:
    """A step with recomputation does so in each of its three passes."""
    sharded = changed(
        ROW,
        kernels=DecoderKernels.REFERENCE,
        zero_stage=3,
        world_size=2,
        offload_param=True,
        gradient_checkpointing=True,
    )
    forward, step = forward_time(MODEL, sharded, RATES), step_time(MODEL, sharded, RATES)
    assert forward.communication == gather_seconds(MODEL, sharded, RATES)
    assert forward.offload == pytest.approx(step.offload / 3)


def test_a_streamed_evaluation_runs_twice_through_the_layers_it_does_not_call() -> None:
    """28 layers: 28 x 0.27 ms before them with an idle GPU, and as much behind them."""
    settings = changed(ROW, gradient_checkpointing=True)
    resident = forward_time(MODEL, settings, RATES)
    found = forward_time(MODEL, changed(settings, streamed_layers=28), RATES)
    assert found.recorded == pytest.approx(28 * 0.27e-3)
    assert found.launch - resident.launch == pytest.approx(28 * 0.27e-3)
    assert found.halves[1] == 0
