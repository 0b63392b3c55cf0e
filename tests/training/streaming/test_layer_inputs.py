"""Layer inputs come back as they were kept, from wherever they waited."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.streaming.layer_inputs import LayerInputs  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize("on_device", [None, 0, 1, 2, 3])
def test_inputs_come_back_from_the_last_layer_down(on_device: int | None) -> None:
    """Two passes of unlike widths through three layers, in two steps."""
    inputs = LayerInputs(CPU, on_device)
    given = {
        (layer, batch): torch.full((1, 4 + batch, 2), float(10 * layer + batch))
        for layer in range(3)
        for batch in range(2)
    }
    for _ in range(2):
        inputs.begin(3, [given[0, 0], given[0, 1]])
        for (layer, batch), tensor in given.items():
            inputs.keep(layer, batch, tensor)
        inputs.turn()
        for layer in (2, 1, 0):
            for batch in range(2):
                assert torch.equal(inputs.take(layer, batch), given[layer, batch])
        inputs.end()


def test_as_many_inputs_stay_as_so_many_layers_have() -> None:
    """Two passes of 4 and 5 tokens; inputs of one of three layers are every third, from the end:
    the last layer's first, the middle one's second.
    """
    inputs = LayerInputs(CPU, 1)
    both = [torch.zeros(1, 4, 2), torch.zeros(1, 5, 2)]
    inputs.begin(3, both)
    for layer in range(3):
        for batch in range(2):
            inputs.keep(layer, batch, both[batch])
    assert set(inputs.kept) == {(2, 0), (1, 1)}
    assert inputs.region is not None
    # Two of 32 bytes and two of 40 are on the host.
    assert inputs.region.size == 2 * 32 + 2 * 40
    # One comes while others are read, and no more than one.
    inputs.turn()
    assert set(inputs.coming) == {(2, 1)}
    inputs.take(2, 0)
    assert set(inputs.coming) == {(2, 1)}
    inputs.take(2, 1)
    assert set(inputs.coming) == {(1, 0)}


def test_no_host_memory_is_taken_where_all_inputs_stay() -> None:
    """Two layers of two are all of them, as none is named."""
    for on_device in (None, 2):
        inputs = LayerInputs(CPU, on_device)
        inputs.begin(2, [torch.zeros(1, 4, 2)])
        assert inputs.region is None


def test_host_memory_grows_with_a_wider_step_and_stays() -> None:
    """2 layers of 4 tokens take 32 bytes each, of 8 tokens 64, and of 4 again no less."""
    inputs = LayerInputs(CPU, 0)
    for tokens, size in ((4, 64), (8, 128), (4, 128)):
        inputs.begin(2, [torch.zeros(1, tokens, 2)])
        assert inputs.region is not None
        assert inputs.region.size == size
