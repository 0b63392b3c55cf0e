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


def test_a_number_of_layers_keeps_its_inputs_and_all_do_without_one() -> None:
    """Of 4 layers: none, 3, no more than there are, and all."""
    for number, kept in ((0, 0), (3, 3), (9, 4), (None, 4)):
        found = Streaming(streamed_layers=4, inputs_on_device=number)
        assert found.kept_inputs(4) == kept
        assert found.sends_inputs is (number is not None)


def test_layers_that_stay_are_spread_evenly() -> None:
    """Of 8 layers 2 stay: places 0 and 4; all where none is streamed, none where all are."""
    assert resident(8, 6) == {0, 4}
    assert resident(3, 0) == {0, 1, 2}
    assert resident(48, 48) == frozenset()


def test_inputs_wait_in_host_memory_only_for_streamed_layers() -> None:
    """Nothing else keeps layer inputs there."""
    assert Streaming(streamed_layers=1).streams
    with pytest.raises(ValueError, match="inputs_on_device needs streamed_layers"):
        Streaming(inputs_on_device=0)
    with pytest.raises(ValueError, match="inputs_on_device must be from 0"):
        Streaming(streamed_layers=1, inputs_on_device=-1)
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


def test_processes_may_stream_unlike_numbers_of_layers() -> None:
    """20 in the first process and 40 in the second; equal numbers are one number."""
    unlike = Streaming(streamed_layers=(20, 40), passes_together=2)
    assert (unlike.numbers, unlike.most, unlike.differs, unlike.shown) == (
        (20, 40),
        40,
        True,
        "20/40",
    )
    assert unlike.of_process(1) == Streaming(streamed_layers=40, passes_together=2)
    alike = Streaming(streamed_layers=(20, 20))
    assert alike == Streaming(streamed_layers=20)
    assert alike.of_process(1) is alike
    assert (alike.numbers_of(2), unlike.numbers_of(2)) == ((20, 20), (20, 40))


def test_a_layer_that_any_process_streams_is_on_the_host_once() -> None:
    """Of 4 layers the first process keeps 0 and 2, the second 0 alone: 1 and 3 are filled by the
    first, 2 by the second.
    """
    assert Streaming(streamed_layers=(2, 3)).on_host(4) == {1: 0, 3: 0, 2: 1}
    assert Streaming(streamed_layers=2).on_host(4) == {1: 0, 3: 0}
    assert Streaming().on_host(4) == {}


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((), "streamed_layers has no number"),
        ((3, 0), "streamed_layers 3,0: every process streams 1 layer or more, or none does"),
        ((3, -1), "streamed_layers must be from 0"),
    ],
)
def test_numbers_that_no_run_can_have_are_refused(numbers: tuple[int, ...], says: str) -> None:
    """A process that streams nothing joins its gradients with the others at other times."""
    with pytest.raises(ValueError, match=says):
        Streaming(streamed_layers=numbers)


def test_every_process_of_a_machine_has_a_number() -> None:
    """Four processes on two machines are two per machine."""
    with pytest.raises(ValueError, match="20,40 names 2 processes of a machine, which has 1"):
        from_flat(TrainingSettings, streamed_layers=(20, 40))
    found = from_flat(TrainingSettings, streamed_layers=(20, 40), world_size=4, nodes=2)
    assert found.of_process(1).streaming.streamed_layers == 40
    # That which holds the most is the one that streams the fewest.
    assert found.of_process(None).streaming.streamed_layers == 20
