"""All passes go through one layer before the next one comes."""

from __future__ import annotations

from functools import partial

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from tests.training.streaming.test_feed import layers  # noqa: E402
from tsplanner.errors import TsplannerError  # noqa: E402
from tsplanner.training.streaming.layer_inputs import LayerInputs  # noqa: E402
from tsplanner.training.streaming.layer_major import LayerMajor  # noqa: E402

CPU = torch.device("cpu")


class Toy(nn.Module):
    """Three linears with a trained factor each, between an embedding and a sum."""

    def __init__(self, given: list[nn.Linear], *, between: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(given)
        self.factors = nn.ParameterList([torch.tensor(1.0 + place) for place in range(len(given))])
        for layer, factor in zip(given, self.factors, strict=True):
            own = layer.forward
            layer.forward = partial(self._scaled, own, factor)  # type: ignore[method-assign]
        self.between = between
        self.seen: list[int] = []

    @staticmethod
    def _scaled(own: object, factor: Tensor, x: Tensor) -> Tensor:
        return own(x) * factor  # type: ignore[operator, no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """The stack."""
        for layer in self.layers:
            x = layer(x)
            if self.between:
                x = x + self.between
        return x


def passes(model: Toy, count: int) -> list[object]:
    """Loss and backward of as many passes."""

    def one(number: int) -> float:
        loss = model(torch.full((1, 2, 8), 0.1 * (number + 1))).pow(2).sum()
        loss.backward()
        return float(loss)

    return [partial(one, number) for number in range(count)]


def test_losses_and_gradients_are_those_of_one_pass_after_the_other() -> None:
    """Every layer comes twice for all four passes, but for those at the turn."""
    torch.manual_seed(0)
    made, feed = layers(3)
    for slab in feed.slabs.values():
        assert slab.host is not None
        slab.host.view(torch.float32)[:64].normal_(0, 0.3)
    model = Toy(made)
    plain = [nn.Linear(8, 8, bias=False) for _ in range(3)]
    for index, layer in enumerate(plain):
        place, host = feed.slabs[index].places[0], feed.slabs[index].host
        assert host is not None
        layer.weight.data.copy_(place.of(host))
        layer.requires_grad_(False)
        made[index].requires_grad_(False)
    expected_model = Toy(plain)
    expected = [each() for each in passes(expected_model, 4)]  # type: ignore[operator]
    major = LayerMajor(model, made, model, feed, LayerInputs(CPU))
    assert major.train(passes(model, 4)) == expected  # type: ignore[arg-type]
    for one, other in zip(model.factors, expected_model.factors, strict=True):
        assert torch.equal(one.grad, other.grad)
    assert feed.copied_bytes == (3 + 1) * 512


def test_an_evaluation_brings_every_layer_once_for_several_passes() -> None:
    """Nothing is kept for a backward."""
    made, feed = layers(3)
    model = Toy(made)
    major = LayerMajor(model, made, model, feed, LayerInputs(CPU))
    with torch.no_grad():
        found = major.evaluate([partial(model, torch.ones(1, 2, 8)) for _ in range(5)])
        assert feed.copied_bytes == 3 * 512
        alone = model(torch.ones(1, 2, 8))
    assert all(torch.equal(each, alone) for each in found)


def test_a_model_that_works_between_its_layers_is_refused() -> None:
    """In words, before anything is computed wrongly."""
    made, feed = layers(3)
    model = Toy(made, between=1.0)
    major = LayerMajor(model, made, model, feed, LayerInputs(CPU))
    with pytest.raises(TsplannerError, match="does more between its layers"):
        major.train(passes(model, 2))  # type: ignore[arg-type]
