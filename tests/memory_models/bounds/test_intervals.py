"""From tensors to reserved bytes, and margins by recipe class."""

from __future__ import annotations

from itertools import combinations

import pytest

from memory_models.bounds.intervals import (
    allocated_interval,
    recipe_class,
    replay_class,
    reserved_interval,
    with_unplaced_logits,
)
from memory_models.calibration import DEFAULT, Margin
from memory_models.result import Interval
from memory_models.settings import (
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)
from tsplanner.models.source import read_model

MIB = 1024**2
SHARES = changed(
    DEFAULT,
    allocated={"default": Margin(expected=0.0, upper=0.5)},
    reserved={"default": Margin(expected=0.25, upper=1.0)},
    replayed={"default": Margin(expected=0.0, upper=0.5)},
)
PLAIN = TrainingSettings()
APART = (
    PLAIN,
    from_flat(TrainingSettings, gradient_checkpointing=False),
    from_flat(TrainingSettings, quantization=Quantization.NF4),
    from_flat(TrainingSettings, finetuning_type=FinetuningType.FULL),
    from_flat(TrainingSettings, loss_kernel=LossKernel.FUSED),
    from_flat(TrainingSettings, world_size=2),
)


@pytest.mark.parametrize(("one", "other"), list(combinations(APART, 2)))
def test_recipes_that_fragment_differently_are_measured_apart(
    one: TrainingSettings, other: TrainingSettings
) -> None:
    """What is trained, on what base, kept or checkpointed, by which loss, on how many ranks."""
    assert recipe_class(one) != recipe_class(other)


@pytest.mark.parametrize(
    "alike",
    [
        {"lora_rank": 64},
        {"sequence_length": 8192},
        {"micro_batch_size": 4},
        {"finetuning_type": FinetuningType.RSLORA},
        {"optimizer": Optimizer.SGD},
    ],
)
def test_sizes_do_not_make_another_class(alike: dict[str, object]) -> None:
    """A margin holds for a kind of recipe, whatever its sizes."""
    assert recipe_class(changed(PLAIN, **alike)) == recipe_class(PLAIN)  # type: ignore[arg-type]


def test_a_class_without_a_measurement_takes_the_default_margin() -> None:
    """One row a class, one for all others: 1000 bytes, all of them transient, scale 1100."""
    sharded = from_flat(TrainingSettings, world_size=2)
    rows = {
        "default": Margin(expected=0.0, upper=2.0),
        recipe_class(sharded): Margin(expected=0.0, upper=3.0),
    }
    table = changed(DEFAULT, allocated=rows)
    assert allocated_interval(1000, 1000, PLAIN, table).upper == 1000 + 2200
    assert allocated_interval(1000, 1000, sharded, table).upper == 1000 + 3300


def test_a_margin_is_a_share_of_what_moves_and_a_tenth_of_all() -> None:
    """1000 bytes, 400 of them transient: nothing expected beyond, at most half of 400 + 100."""
    found = allocated_interval(1000, 400, PLAIN, SHARES)
    assert (found.expected, found.upper) == (1000, 1250)


def test_persistent_bytes_have_a_small_margin() -> None:
    """Weights and states are counted; how they are packed is not: half of a tenth."""
    found = allocated_interval(1000, 0, PLAIN, SHARES)
    assert (found.expected, found.upper) == (1000, 1050)


def test_reserved_bytes_are_whole_segments() -> None:
    """6 MiB, 4 of them transient, scale 4.6: a quarter more is 7.15, so 8 in segments; all: 12."""
    found = reserved_interval(6 * MIB, 4 * MIB, PLAIN, SHARES)
    assert (found.expected, found.upper) == (8 * MIB, 12 * MIB)


def test_a_replay_replaces_the_usual_share() -> None:
    """Replayed 7 MiB of a 6 MiB peak, scale 4.6: 8 in segments; 7 + 0.5 x 4.6 = 9.3: 10."""
    found = reserved_interval(6 * MIB, 4 * MIB, PLAIN, SHARES, replayed=7 * MIB)
    assert (found.expected, found.upper) == (8 * MIB, 10 * MIB)


def test_reserved_bytes_are_never_below_the_tensors() -> None:
    """A replay that gave 2 MiB for 6 MiB of tensors: 6."""
    found = reserved_interval(6 * MIB, 0, PLAIN, SHARES, replayed=2 * MIB)
    assert found.expected == 6 * MIB


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        # 2,048 tokens x 152,064 words x 2 bytes are 594 MiB: 0.7 and 1.1 of it in steps of 2 MiB.
        ({}, (416, 654)),
        ({"loss_kernel": LossKernel.FUSED}, (0, 0)),
        ({"kernels": DecoderKernels.FUSED}, (0, 0)),
        ({"expandable_segments": False}, (0, 0)),
        ({"model_dtype": Dtype.FP32}, (0, 0)),
    ],
)
def test_a_copy_of_the_logits_may_find_no_hole_in_a_replay(
    changes: dict[str, object], more: tuple[int, int]
) -> None:
    """Only where reference kernels leave the logits to growing segments."""
    settings = from_flat(
        TrainingSettings, **{"sequence_length": 2048, "expandable_segments": True, **changes}
    )
    before = Interval(expected=1000 * MIB, upper=1200 * MIB)
    margin = DEFAULT.margins.unplaced_logits
    shapes = read_model("qwen2.5-7b").architecture
    found = with_unplaced_logits(before, shapes, settings, margin)
    assert (found.expected - before.expected) // MIB == more[0]
    assert (found.upper - before.upper) // MIB == more[1]


def test_replays_are_measured_apart_by_what_is_trained_and_kept() -> None:
    """The replay sees loss kernel and quantisation itself."""
    kept = from_flat(TrainingSettings, gradient_checkpointing=False)
    full = from_flat(TrainingSettings, finetuning_type=FinetuningType.FULL)
    assert len({replay_class(PLAIN), replay_class(kept), replay_class(full)}) == 3
    for alike in ({"loss_kernel": LossKernel.FUSED}, {"quantization": Quantization.NF4}):
        assert replay_class(changed(PLAIN, **alike)) == replay_class(PLAIN)  # type: ignore[arg-type]


def test_passes_of_many_lengths_are_a_class_of_their_own() -> None:
    """What is trained does not matter; whether activations are kept does."""
    for method in (FinetuningType.LORA, FinetuningType.FULL):
        packed = changed(PLAIN, finetuning_type=method, token_budget=4096)
        kept = changed(packed, gradient_checkpointing=False)
        assert replay_class(packed).endswith("packed-checkpointed")
        assert replay_class(kept).endswith("packed-kept")
