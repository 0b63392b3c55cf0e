"""Which event of a traced micro-batch belongs to which decoder layer.

A layer begins in forward when its module is called, and ends when the next module is. In backward
it begins when the gradient of its output is complete, and ends when that of its input is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from tsplanner.errors import TsplannerError
from tsplanner.tracing.fake_cuda.storages import Phase, StorageLog


@dataclass(slots=True)
class MicroBatch:
    """Where the parts of one micro-batch begin among the events of a log."""

    begin: int
    forward: list[int] = field(default_factory=list)
    """First event of every layer, and of what follows the last layer."""
    inputs: list[int] = field(default_factory=list)
    """Number of the storage of every layer's input, and of the last layer's output."""
    head: int | None = None
    """First event of the last norm, which the formula of the head counts; None: there is none."""
    between: int = 0
    """First event of backward."""
    backward: dict[int, int] = field(default_factory=dict)
    """First event of a layer's backward, by the layer's place; -1: of what follows the first."""
    gradients: dict[int, int | None] = field(default_factory=dict)
    """Number of the storage of the gradient of a layer's output, by the layer's place."""
    end: int = 0


class Boundaries:
    """Notes the boundaries of layers while a model runs."""

    def __init__(self, layers: nn.ModuleList, storages: StorageLog) -> None:
        self.layers, self.storages = layers, storages
        self.places = {id(layer): place for place, layer in enumerate(layers)}
        self.current = MicroBatch(begin=0)
        self.output: Any = None
        self.waits = False
        """The last layer has returned, and what follows it has not begun."""

    def begin(self) -> MicroBatch:
        """A new micro-batch begins."""
        self.current = MicroBatch(begin=len(self.storages.events))
        return self.current

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hook the layers of the model."""
        handles = [register_module_forward_pre_hook(self._before)]
        handles.append(self.layers[-1].register_forward_hook(self._after_last))
        handles += [
            layer.register_forward_pre_hook(self._enter, with_kwargs=True) for layer in self.layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def _forward(self) -> bool:
        # A checkpointed layer is called again in backward.
        return self.storages.phase is Phase.FORWARD

    def _enter(self, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not self._forward:
            return
        place = self.places[id(layer)]
        if place != len(self.current.forward):
            raise TsplannerError(
                "The trace cannot follow this model: its decoder layers do not run one by one."
            )
        stream = given[0] if given else named["hidden_states"]
        self._note(stream)

    def _after_last(self, layer: nn.Module, given: Any, output: Any) -> None:
        if self._forward:
            self.waits = True
            self.output = output[0] if isinstance(output, tuple) else output

    def _before(self, module: nn.Module, given: Any) -> None:
        if self.waits and self._forward:
            self.waits = False
            output, self.output = self.output, None
            self._note(output)
        behind = self._forward and len(self.current.forward) > len(self.layers)
        if behind and self.current.head is None and "norm" in type(module).__name__.lower():
            self.current.head = len(self.storages.events)

    def _note(self, stream: Tensor) -> None:
        place = len(self.current.forward)
        self.current.forward.append(len(self.storages.events))
        number = self.storages.number_of(stream)
        if number is None:
            raise TsplannerError("The trace lost the hidden states between two decoder layers.")
        self.current.inputs.append(number)
        if stream.requires_grad:
            found, storages = self.current, self.storages

            def reached(gradient: Tensor) -> None:
                found.backward[place - 1] = len(storages.events)
                found.gradients[place - 1] = storages.number_of(gradient)

            stream.register_hook(reached)
