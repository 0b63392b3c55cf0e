"""The layer-major schedule: all micro-batches pass through one layer before the next one comes."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tsplanner.errors import TsplannerError
from tsplanner.training.streaming.feed import WeightFeed
from tsplanner.training.streaming.layer_inputs import LayerInputs
from tsplanner.training.streaming.recorded_pass import (
    ChangedBetweenLayersError,
    Form,
    ReachedTheEnd,
    RecordedPass,
)
from tsplanner.training.streaming.surroundings import Surroundings

WRONG_FORM = (ChangedBetweenLayersError, TypeError, ValueError, AttributeError, IndexError)
"""What a model raises where its layers return something of another form."""
Result = TypeVar("Result")
Pass = Callable[[], Result]
"""Runs the model on one micro-batch; called twice (`RecordedPass`)."""


class LayerMajor:
    """Takes the place of the decoder layers of one model."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[nn.Module],
        stack: nn.Module,
        feed: WeightFeed,
        inputs: LayerInputs,
    ) -> None:
        """``stack``: the module that calls the ``layers`` one after the other."""
        self.model, self.feed, self.inputs = model, feed, inputs
        self.form = Form.TENSOR
        self.at_work: RecordedPass | None = None
        self.random = True
        """Whether layers may draw random numbers in training."""
        self.after_layer: Callable[[], None] = lambda: None
        """Called after every layer of a step."""
        self.own = [layer.forward for layer in layers]
        for index, layer in enumerate(layers):
            layer.forward = types.MethodType(partial(_called, self, index), layer)
        stack.register_forward_hook(self._end_of_layers)

    def called(self, index: int, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A layer of the model is called."""
        if self.at_work is not None:
            return self.at_work.called(index, arguments, options)
        # One pass alone, as in an evaluation of single rows: the next layer is brought meanwhile.
        ahead = [(index + step) % len(self.own) for step in range(1, len(self.own))]
        with self.feed.layer(index, ahead):
            return self.own[index](*arguments, **options)

    def _end_of_layers(self, *_: Any) -> None:
        if self.at_work is not None and self.at_work.replayed is None:
            raise ReachedTheEnd

    def train(self, passes: Sequence[Pass[Result]]) -> list[Result]:
        """Forward and backward of several micro-batches; each pass ends with its own backward."""
        records, order = self._forward(passes, keep=True)
        results = [self._replayed(*each) for each in zip(records, passes, strict=True)]
        self._backward(records, order)
        self.inputs.end()
        return results

    def evaluate(self, passes: Sequence[Pass[Result]]) -> list[Result]:
        """Forward alone of several passes."""
        records, _ = self._forward(passes, keep=False)
        return [self._replayed(*each) for each in zip(records, passes, strict=True)]

    def _forward(
        self, passes: Sequence[Pass[Result]], *, keep: bool
    ) -> tuple[list[RecordedPass], list[int]]:
        """All layers of all passes; ``keep``: for a backward after it."""
        records = [self._recorded(each) for each in passes]
        order = [call.layer for call in records[0].calls]
        if any([call.layer for call in record.calls] != order for record in records):
            raise TsplannerError(
                "The rows of this model take different ways through its layers, so that they "
                "cannot be streamed: plan again with --streamed-layers 0."
            )
        if keep:
            self.inputs.begin(len(order), [_stream(record) for record in records])
        turned = [*order, *reversed(order)] if keep else order
        for place, layer in enumerate(order):
            ahead = turned[place + 1 :]
            with self.feed.layer(layer, ahead, len(records)) as more, torch.no_grad():
                for number, record in enumerate(records):
                    if number:
                        more()
                    stream = _stream(record)
                    if keep:
                        self.inputs.keep(place, number, stream)
                    record.stream = record.run(place, self.own[layer], stream, again=False)
            self.after_layer()
        if keep:
            self.inputs.turn()
        for record in records:
            record.stream = _stream(record).detach().requires_grad_(keep)
        return records, order

    def _recorded(self, one: Pass[Result]) -> RecordedPass:
        """What the layers are called with in a pass."""
        device, why = self.feed.buffers[0].bytes.device, None
        for form in (self.form, *(other for other in Form if other is not self.form)):
            random = self.random and self.model.training
            record = RecordedPass(form, partial(Surroundings, device, random=random))
            try:
                with self._working(record):
                    one()
            except ReachedTheEnd:
                self.form = form
                record.recorded()
                return record
            except WRONG_FORM as error:
                why = error
        raise TsplannerError(
            "This model does more between its layers than to hand their result on, so that they "
            "cannot be streamed: plan again with --streamed-layers 0."
        ) from why

    def _replayed(self, record: RecordedPass, one: Pass[Result]) -> Result:
        """The same pass with the layers' result, which gives way to its gradient."""
        record.replayed = 0
        with self._working(record):
            result = one()
        record.stream = _stream(record).grad
        return result

    @contextmanager
    def _working(self, record: RecordedPass) -> Iterator[None]:
        self.at_work = record
        try:
            yield
        finally:
            self.at_work = None

    def _backward(self, records: list[RecordedPass], order: list[int]) -> None:
        """Run every layer again, from the last to the first, and go back through it."""
        for place in reversed(range(len(order))):
            ahead = [*reversed(order[:place]), *order]
            with self.feed.layer(order[place], ahead, len(records)) as more:
                for number, record in enumerate(records):
                    if number:
                        more()
                    self._again(record, place, number, self.own[order[place]])
            self.after_layer()
        for record in records:
            if record.entry is not None:
                record.entry.backward(record.stream)

    def _again(
        self, record: RecordedPass, place: int, number: int, layer: Callable[..., Any]
    ) -> None:
        read = self.inputs.take(place, number).detach()
        read.requires_grad_(place > 0 or record.entry is not None)
        with torch.enable_grad():
            result = record.run(place, layer, read, again=True)
        if result.requires_grad and record.stream is not None:
            result.backward(record.stream)
        record.stream = read.grad


def _called(major: LayerMajor, index: int, _: nn.Module, *arguments: Any, **options: Any) -> Any:
    return major.called(index, arguments, options)


def _stream(record: RecordedPass) -> Tensor:
    assert record.stream is not None
    return record.stream
