"""Settings of streamed layers."""

from __future__ import annotations

import pytest

from memory_models.settings import (
    FinetuningType,
    Quantization,
    Streaming,
    TrainingSettings,
    from_flat,
)
from memory_models.settings import resident_layers as resident


def test_layers_that_stay_are_spread_evenly() -> None:
    """Of 8 layers 2 stay: places 0 and 4; all where none is streamed, none where all are."""
    assert resident(8, 6) == {0, 4}
    assert resident(3, 0) == {0, 1, 2}
    assert resident(48, 48) == frozenset()


def test_inputs_wait_in_host_memory_only_for_streamed_layers() -> None:
    """Nothing else keeps layer inputs there."""
    assert Streaming(streamed_layers=1).streams
    with pytest.raises(ValueError, match="host_checkpoints needs streamed_layers"):
        Streaming(host_checkpoints=True)
    with pytest.raises(ValueError, match="passes_together needs streamed_layers"):
        Streaming(passes_together=2)
    assert Streaming(streamed_layers=1, passes_together=3).together(8) == 3
    assert Streaming(streamed_layers=1).together(8) == 8
    with pytest.raises(ValueError, match="streamed_layers must be from 0"):
        Streaming(streamed_layers=-1)


@pytest.mark.parametrize(
    ("against", "says"),
    [
        ({"zero_stage": 3}, "zero_stage 0"),
        ({"quantization": Quantization.NF4}, "upcast_unquantized off"),
        ({"gradient_checkpointing": False}, "gradient_checkpointing of all layers"),
        ({"finetuning_type": FinetuningType.ADALORA}, "one lora, rslora or dora"),
    ],
)
def test_what_does_not_go_with_streamed_layers_is_refused(
    against: dict[str, object], says: str
) -> None:
    """By the name of the setting."""
    with pytest.raises(ValueError, match=says):
        from_flat(TrainingSettings, streamed_layers=2, **against)
