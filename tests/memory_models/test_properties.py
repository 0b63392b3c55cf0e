"""Laws that every estimate keeps, whatever the model and the settings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from memory_models.architecture import Architecture
from memory_models.bounds.cpu import on_cpu
from memory_models.device import Device
from memory_models.estimate import check, estimate_memory
from memory_models.result import MemoryEstimate
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    TrainingSettings,
    changed,
    effective_settings,
    from_flat,
)
from memory_models.sharding.states import ModelStates, model_states
from tests.support.drawn_settings import any_settings, intervals
from tests.support.toy_decoder import ALL, WIDE

quick = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
SCALED_BY_SIZE = frozenset(
    {Optimizer.ADAMW_BNB_8BIT, Optimizer.PAGED_ADAMW_8BIT, Optimizer.PAGED_ADAMW_32BIT}
)
"""These store a tensor in fewer bytes once it is large enough, so a higher rank may take less."""


architectures = st.sampled_from(ALL)


def estimated(architecture: Architecture, values: TrainingSettings) -> MemoryEstimate:
    """The estimate, or this example is left out: the settings cannot run."""
    try:
        return estimate_memory(architecture, values)
    except ValueError:
        assume(False)
        raise


def assert_none_falls(less: MemoryEstimate, more: MemoryEstimate) -> None:
    """Of all four quantities, neither the expected value nor the bound falls."""
    before, after = intervals(less), intervals(more)
    assert len(before) == 4
    for name, interval in before.items():
        assert after[name].expected >= interval.expected, name
        assert after[name].upper >= interval.upper, name


@quick
@given(architectures, any_settings(), st.integers(1, 64))
def test_bytes_never_fall_when_the_batch_grows(
    architecture: Architecture, values: TrainingSettings, more: int
) -> None:
    """More sequences at once never need less memory."""
    larger = changed(values, micro_batch_size=values.batch.micro_batch_size + more)
    assert_none_falls(estimated(architecture, values), estimated(architecture, larger))


@quick
@given(architectures, any_settings(), st.integers(1, 63))
def test_bytes_never_fall_when_sequences_get_longer(
    architecture: Architecture, values: TrainingSettings, more: int
) -> None:
    """Longer sequences never need less memory."""
    length = min(architecture.positions.max_position_embeddings, values.sequence_length + more)
    longer = replace(values, sequence_length=length)
    assert_none_falls(estimated(architecture, values), estimated(architecture, longer))


@quick
@given(architectures, any_settings(), st.integers(1, 64))
def test_bytes_never_fall_when_the_rank_rises(
    architecture: Architecture, values: TrainingSettings, more: int
) -> None:
    """A larger adapter never needs less memory.

    Block-wise optimizers apart, and ZeRO-3, where a larger matrix is gathered with other ones; and
    gradients kept on the host, where a larger matrix moves the cut between two ranks, so that
    another set of tensors is pinned, each in a power of two.
    """
    assume(values.method.finetuning_type.uses_adapter and values.sharding.zero_stage < 3)
    kept_on_host = (
        values.sharding.offload_optimizer and values.batch.gradient_accumulation_steps > 1
    )
    assume(not (kept_on_host and values.sharding.world_size > 1))
    assume(values.kernels.optimizer not in SCALED_BY_SIZE)
    limit = 64 if architecture is WIDE else 4
    higher = changed(values, lora_rank=min(limit, values.method.lora_rank + more))
    assert_none_falls(estimated(architecture, values), estimated(architecture, higher))


@quick
@given(architectures, any_settings())
def test_components_add_up_and_bounds_lie_above(
    architecture: Architecture, values: TrainingSettings
) -> None:
    """Parts sum to the process's expected bytes; every bound is at least its expected value."""
    found = estimated(architecture, values)
    assert sum(part.bytes for part in found.components) == found.process_bytes.expected
    names = [part.name for part in found.components]
    assert len(names) == len(set(names))
    for name, interval in intervals(found).items():
        assert 0 < interval.expected <= interval.upper, name


@quick
@given(architectures, any_settings())
def test_the_four_quantities_are_nested(
    architecture: Architecture, values: TrainingSettings
) -> None:
    """Tensors are in reserved segments, and those in the process."""
    found = estimated(architecture, values)
    assert found.peak_allocated_bytes.expected <= found.peak_reserved_bytes.expected
    assert found.peak_reserved_bytes.expected <= found.process_bytes.expected


@quick
@given(architectures, any_settings())
def test_one_configuration_has_one_estimate(
    architecture: Architecture, values: TrainingSettings
) -> None:
    """No clock, no randomness, no state: the same question has the same answer."""
    assert estimated(architecture, values) == estimated(architecture, replace(values))


@quick
@given(architectures, any_settings())
def test_the_cpu_estimate_keeps_the_same_laws(
    architecture: Architecture, values: TrainingSettings
) -> None:
    """Resident bytes too are the sum of their parts, with a bound above."""
    found = on_cpu(estimated(architecture, values))
    assert sum(part.bytes for part in found.components) == found.process_bytes.expected
    for name, interval in intervals(found).items():
        assert 0 < interval.expected <= interval.upper, name


@quick
@given(architectures, any_settings())
def test_accumulating_in_more_steps_than_two_costs_nothing_more(
    architecture: Architecture, values: TrainingSettings
) -> None:
    """Gradients are there early from the second micro-batch on, however many follow."""
    two = estimated(architecture, changed(values, gradient_accumulation_steps=2))
    many = estimated(architecture, changed(values, gradient_accumulation_steps=64))
    assert two.process_bytes == many.process_bytes


@quick
@given(architectures, any_settings())
def test_freezing_all_but_some_layers_needs_no_more_than_training_all(
    architecture: Architecture, values: TrainingSettings
) -> None:
    """Fewer trained layers, fewer gradients, states and activations.

    ZeRO-3 apart: it lays trained parameters out flat, frozen ones in blocks of their own.
    """
    assume(values.base.quantization is None and values.sharding.zero_stage < 3)
    frozen = changed(values, finetuning_type=FinetuningType.FREEZE)
    full = changed(values, finetuning_type=FinetuningType.FULL)
    less = estimated(architecture, frozen).peak_allocated_bytes.expected
    assert less <= estimated(architecture, full).peak_allocated_bytes.expected


@st.composite
def sharded(draw: st.DrawFn, *stages: int) -> TrainingSettings:
    """Settings of several ranks under one of these stages of ZeRO."""
    found = draw(any_settings())
    # DeepSpeed takes no base whose products are in 8 bits.
    assume(not found.base.multiplies_8bit)
    stage = draw(st.sampled_from(stages))
    return effective_settings(
        changed(found, zero_stage=stage, offload_optimizer=False, offload_param=False)
    )


def held(architecture: Architecture, values: TrainingSettings) -> ModelStates:
    """What one rank holds."""
    try:
        check(architecture, values)
    except ValueError:
        assume(False)
    return model_states(architecture, values.states)


SLACK = 512 * 64
"""Rounding of shares to blocks of 512 bytes; the toys have at most 64 tensors."""


@quick
@given(architectures, sharded(1, 2, 3), st.integers(2, 8))
def test_shares_of_all_ranks_are_at_least_the_whole(
    architecture: Architecture, values: TrainingSettings, ranks: int
) -> None:
    """Nothing is lost by sharing it out, but what large tensors are rounded up by."""
    one, several = changed(values, world_size=1), changed(values, world_size=ranks)
    whole, part = held(architecture, one), held(architecture, several)
    assert ranks * (part.states + SLACK) >= 0.9 * whole.states
    assert ranks * (part.weights + part.trained + SLACK) >= 0.9 * (whole.weights + whole.trained)


@quick
@given(architectures, sharded(1, 2, 3), st.integers(2, 7))
def test_more_ranks_never_hold_more_states_each(
    architecture: Architecture, values: TrainingSettings, ranks: int
) -> None:
    """A process's share shrinks.

    A paged optimizer keeps small state tensors on the device, and a smaller share may become one:
    there the device and the pages shrink together.
    """
    few, many = (
        held(architecture, changed(values, world_size=number)) for number in (ranks, ranks + 1)
    )
    assert many.device + many.paged <= few.device + few.paged + SLACK
    if not few.paged:
        assert many.device <= few.device + SLACK


@quick
@given(architectures, sharded(3), st.booleans())
def test_offload_takes_from_the_device_and_gives_the_host_no_less(
    architecture: Architecture, values: TrainingSettings, parameters: bool
) -> None:
    """What leaves the device is on the host, and pinned memory is rounded up on top."""
    values = changed(values, world_size=2)
    kept = held(architecture, values)
    moved = held(architecture, changed(values, offload_optimizer=True, offload_param=parameters))
    assert kept.host == 0
    assert (moved.states, moved.paged) == (0, 0)
    assert moved.device <= kept.device
    assert kept.device <= moved.device + moved.host + SLACK


anything = st.fixed_dictionaries(
    {},
    optional={
        "finetuning_type": st.sampled_from(FinetuningType),
        "lora_rank": st.integers(-2, 10**9),
        "adalora_init_rank": st.none() | st.integers(-2, 10**9),
        "lora_target": st.just("all-linear") | st.lists(st.text(max_size=8)).map(tuple),
        "lora_dropout": st.floats(),
        "freeze_trainable_layers": st.integers(-2, 10**9),
        "model_dtype": st.sampled_from(Dtype),
        "autocast": st.none() | st.sampled_from(Dtype),
        "quantization": st.none() | st.sampled_from(Quantization),
        "sequence_length": st.integers(-2, 10**9),
        "micro_batch_size": st.integers(-2, 10**9),
        "gradient_accumulation_steps": st.integers(-2, 10**9),
        "gradient_checkpointing": st.booleans(),
        "attention": st.sampled_from(Attention),
        "loss_kernel": st.sampled_from(LossKernel),
        "optimizer": st.sampled_from(Optimizer),
        "world_size": st.integers(-2, 10**9),
        "zero_stage": st.integers(-1, 5),
        "offload_optimizer": st.booleans(),
        "offload_param": st.booleans(),
    },
)
devices = st.builds(
    Device,
    name=st.just("card"),
    total_bytes=st.just(2**34),
    free_bytes=st.just(2**33),
    compute_capability=st.tuples(st.integers(3, 20), st.integers(0, 9)),
)


@settings(max_examples=150, deadline=None)
@given(architectures, anything, st.none() | devices)
def test_any_configuration_is_estimated_or_refused(
    architecture: Architecture, values: dict[str, object], device: Device | None
) -> None:
    """There is no third way: a ValueError or bytes."""
    with suppress(ValueError):
        found = estimate_memory(architecture, from_flat(TrainingSettings, **values), device)  # type: ignore[arg-type]
        assert found.process_bytes.expected > 0
