"""A layer's program: its own tensors, from forward to the end of its backward."""

from __future__ import annotations

from memory_models.symbolic import ALLOC, FREE
from tsplanner.tracing.recording.programs import MicroBatchPrograms
from tsplanner.tracing.recording.segments import MicroBatch

# One layer. Storages: 0 the mask, 1 the layer's input, 2 kept, 3 passing, 4 the output, 5 a cast
# that autocast holds, 6 the gradient of the output, 7 that of a weight, 8 that of the input.
SIZES = {0: 10, 1: 20, 2: 30, 3: 40, 4: 20, 5: 50, 6: 20, 7: 60, 8: 20}
EVENTS = [
    (0, 10),
    (1, 20),
    # The layer.
    (2, 30),
    (5, 50),
    (3, 40),
    (3, 0),
    (4, 20),
    (1, 0),
    # Head and loss.
    (5, 0),
    # Backward: the head makes the gradient of the output.
    (6, 20),
    # The layer.
    (7, 60),
    (8, 20),
    (2, 0),
    (6, 0),
    # What follows the layer.
    (4, 0),
    (8, 0),
    (0, 0),
]


def found() -> MicroBatch:
    """The boundaries of these events."""
    return MicroBatch(
        begin=0,
        forward=[2, 8],
        inputs=[1, 4],
        between=9,
        backward={0: 10, -1: 14},
        gradients={0: 6, -1: 8},
        end=17,
    )


def test_a_layer_frees_its_input_and_keeps_what_backward_needs() -> None:
    """Tensors are numbered as they appear: 0 kept, 1 a cast, 2 passing, 3 output, 4 input."""
    program = MicroBatchPrograms(EVENTS, found(), SIZES).of(0, checkpointed=False)
    assert program.bytes[:5] == [30, 50, 40, 20, 20]
    assert program.forward == [
        (ALLOC, 0),
        (ALLOC, 1),
        (ALLOC, 2),
        (FREE, 2),
        (ALLOC, 3),
        (FREE, 4),
    ]
    assert program.cached == [(FREE, 1)]
    assert program.kept == [0]


def test_backward_leaves_the_gradients_of_weight_and_input() -> None:
    """The gradient of the output and the kept tensor go."""
    program = MicroBatchPrograms(EVENTS, found(), SIZES).of(0, checkpointed=False)
    sizes = [(sign, program.bytes[number]) for sign, number in program.backward]
    assert sizes == [(ALLOC, 60), (ALLOC, 20), (FREE, 30), (FREE, 20)]


def test_what_was_there_before_the_layers_is_told_apart() -> None:
    """The mask stays to the end; the input belongs to the first layer."""
    assert MicroBatchPrograms(EVENTS, found(), SIZES).around() == [10]
