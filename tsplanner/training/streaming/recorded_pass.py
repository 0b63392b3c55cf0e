"""One micro-batch's way through a model, cut at its decoder layers.

The model's own forward runs twice per micro-batch. The first time every layer hands its input on,
and only what each layer is called with is recorded: masks and positions do not depend on what the
layers compute. The second time the layers have been computed, and the model goes on from the last
one. What is before the first layer (the embedding) and behind the last one (lm_head and loss) is
thus the model's own, whatever its family.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tsplanner.errors import TsplannerError
from tsplanner.training.streaming.surroundings import Surroundings

STREAM = "hidden_states"
"""Name by which a few models pass a layer its input."""


class ReachedTheEnd(BaseException):
    """The recording has seen all layers: not an error, and nothing that a library may catch."""


class Form(Enum):
    """What a model's layers return."""

    TENSOR = auto()
    TUPLE = auto()
    """A tuple whose first element is the tensor."""

    def made(self, tensor: Tensor) -> Any:
        """A layer's result of this form."""
        return tensor if self is Form.TENSOR else (tensor,)


def tensor_of(result: Any) -> Tensor:
    """The tensor of a layer's result of either form."""
    found: Tensor = result[0] if isinstance(result, tuple) else result
    return found


class Call(NamedTuple):
    """One call of a layer."""

    layer: int
    arguments: tuple[Any, ...]
    """Behind the input."""
    options: dict[str, Any]


class ChangedBetweenLayersError(Exception):
    """A layer's input is not the result of the layer before it."""


class RecordedPass:
    """A micro-batch between the embedding and the lm_head."""

    def __init__(self, form: Form, surroundings: Callable[[], Surroundings]) -> None:
        self.form, self.surroundings = form, surroundings
        self.calls: list[Call] = []
        self.around: Surroundings | None = None
        self.entry: Tensor | None = None
        """Input of the first layer with its graph, if anything before the layers is trained."""
        self.handed_on: Tensor | None = None
        """What every layer hands on while the pass is recorded."""
        self.stream: Tensor | None = None
        """Input of the next layer; in backward the gradient of its result."""
        self.states: dict[int, tuple[Tensor, ...]] = {}
        """Random numbers before each call."""
        self.replayed: int | None = None
        """Calls of the second run so far; None: it has not begun."""

    def called(self, layer: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Answer the model in place of a layer."""
        options = dict(options)
        stream = arguments[0] if arguments else options.pop(STREAM)
        if self.replayed is not None:
            self.replayed += 1
            if self.replayed == len(self.calls):
                assert self.stream is not None
                assert self.around is not None
                self.around.restore(self.around.state)
                stream = self.stream
            return self.form.made(stream)
        if not self.calls:
            self.around, self.handed_on = self.surroundings(), stream
            self.entry, self.stream = stream if stream.requires_grad else None, stream.detach()
        elif stream is not self.handed_on:
            raise ChangedBetweenLayersError
        _refuse_state(options)
        self.calls.append(Call(layer, arguments[1:], options))
        return self.form.made(stream)

    def recorded(self) -> None:
        """The recording has ended."""
        self.handed_on = None

    def run(self, place: int, layer: Callable[..., Any], stream: Tensor, *, again: bool) -> Tensor:
        """The result of one call; ``again``: in backward, with the random numbers of the first."""
        call, around = self.calls[place], self.around
        assert around is not None
        if not again:
            self.states[place] = around.state
        with around.around(self.states[place] if again else None):
            return tensor_of(layer(stream, *call.arguments, **call.options))


def _refuse_state(options: dict[str, Any]) -> None:
    """Refuse layers that pass on more than their result.

    Raises TsplannerError.
    """
    for name, value in options.items():
        if not _is_fixed(value):
            raise TsplannerError(
                f"The layers of this model share {name}, so that they cannot be streamed: plan "
                "again with --streamed-layers 0."
            )


def _is_fixed(value: Any) -> bool:
    """Whether layers can only read a value: what is empty is there to be filled by them."""
    if isinstance(value, (list, dict)):
        held = value.values() if isinstance(value, dict) else value
        return bool(value) and all(map(_is_fixed, held))
    if isinstance(value, tuple):
        return all(map(_is_fixed, value))
    if torch.is_tensor(value):
        return not value.requires_grad
    return value is None or isinstance(value, (bool, int, float, str, torch.dtype))
