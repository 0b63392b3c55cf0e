"""Which layers are brought to the device, and when."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tsplanner.training.streaming.feed import WeightFeed  # noqa: E402
from tsplanner.training.streaming.regions import Region  # noqa: E402
from tsplanner.training.streaming.slabs import Slab, homes_of  # noqa: E402

CPU = torch.device("cpu")


def layers(count: int) -> tuple[list[nn.Linear], WeightFeed]:
    """Layers of 8 x 8 weights, all of which are streamed."""
    made = [nn.Linear(8, 8, bias=False) for _ in range(count)]
    slabs = {}
    for index, layer in enumerate(made):
        layer.weight.data.fill_(index)
        slabs[index] = Slab(homes_of(layer), CPU)
        slabs[index].adopt(Region(slabs[index].size, lock=False))
    return made, WeightFeed(slabs, CPU)


def walk(made: list[nn.Linear], feed: WeightFeed, order: list[int]) -> None:
    """Use layers in an order, of which the feed is told what comes."""
    for place, index in enumerate(order):
        with feed.layer(index, order[place + 1 :]):
            assert float(made[index].weight.mean()) == index
        assert made[index].weight.untyped_storage().nbytes() == 4


def test_layers_that_are_in_the_buffers_do_not_come_again() -> None:
    """Forward brings five, backward the three below the last two; the next step begins with two
    that are still there.
    """
    made, feed = layers(5)
    there_and_back = [0, 1, 2, 3, 4, 4, 3, 2, 1, 0]
    walk(made, feed, there_and_back)
    assert feed.copied_bytes == (5 + 3) * 512
    walk(made, feed, there_and_back)
    assert feed.copied_bytes == (5 + 3 + 3 + 3) * 512


def test_the_next_layer_comes_in_pieces_one_beside_each_pass() -> None:
    """The first piece before the first pass. What no pass has
    brought comes when the layer is used.
    """
    _, feed = layers(2)
    with feed.layer(0, [1], passes=3) as more:
        (coming,) = [buffer for buffer in feed.buffers if buffer.layer == 1]
        size = feed.slabs[1].size
        piece = -(-size // 3)
        assert coming.copied == piece
        more()
        assert coming.copied == 2 * piece
        assert feed.copied_bytes == 2 * size
    with feed.layer(1):
        assert coming.copied == size
    with feed.layer(0, [1], passes=2) as more:
        more()
        more()


def test_a_layer_without_a_slab_stays_where_it_is() -> None:
    """The next streamed layer is brought while it works."""
    made, feed = layers(3)
    kept = nn.Linear(8, 8)
    feed.slabs = {index: slab for index, slab in feed.slabs.items() if index != 1}
    made[1] = kept
    with feed.layer(0, [1, 2]):
        pass
    with feed.layer(1, [2]):
        assert feed.copied_bytes == 2 * 512
    with feed.layer(2):
        assert float(made[2].weight.mean()) == 2
    assert feed.copied_bytes == 2 * 512


def test_an_error_in_a_layer_leaves_no_weights_behind() -> None:
    """The buffer goes to another layer, whose values would show in this one."""
    made, feed = layers(2)
    with pytest.raises(KeyError), feed.layer(1):
        raise KeyError
    assert made[1].weight.untyped_storage().nbytes() == 4
