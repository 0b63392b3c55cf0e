"""Layer inputs come back as they were kept, from wherever they waited."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.streaming.layer_inputs import DeviceInputs, HostInputs  # noqa: E402


@pytest.mark.parametrize("make", [DeviceInputs, lambda: HostInputs(torch.device("cpu"))])
def test_inputs_come_back_from_the_last_layer_down(make: object) -> None:
    """Two passes of unlike widths through three layers."""
    inputs = make()  # type: ignore[operator]
    given = {
        (layer, batch): torch.full((1, 4 + batch, 2), float(10 * layer + batch))
        for layer in range(3)
        for batch in range(2)
    }
    inputs.begin(3, [given[0, 0], given[0, 1]])
    for (layer, batch), tensor in given.items():
        inputs.keep(layer, batch, tensor)
    inputs.turn()
    for layer in (2, 1, 0):
        for batch in range(2):
            assert torch.equal(inputs.take(layer, batch), given[layer, batch])
    inputs.end()


def test_host_memory_grows_with_a_wider_step_and_stays() -> None:
    """2 layers of 4 tokens take 32 bytes each, of 8 tokens 64, and of 4 again no less."""
    inputs = HostInputs(torch.device("cpu"))
    for tokens, size in ((4, 64), (8, 128), (4, 128)):
        inputs.begin(2, [torch.zeros(1, tokens, 2)])
        assert inputs.region is not None
        assert inputs.region.size == size
