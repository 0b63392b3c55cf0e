"""Records the decoder layers of a model under one recipe: a few layers, at a few sizes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch

from memory_models.recorded.recording import Recipe, RecordedLayer, Recording
from memory_models.settings import (
    BatchLayout,
    Kernels,
    Optimizer,
    Sharding,
    TrainingSettings,
)
from memory_models.symbolic import ZERO, Event, Size, total
from tsplanner.errors import TsplannerError
from tsplanner.tracing.fake_cuda.attention import cuda_attention
from tsplanner.tracing.fake_cuda.cuda_rules import (
    cuda_autocast_answers,
    cuda_dropout,
    cuda_norm,
    cuda_pieces,
    use_cuda_casts,
)
from tsplanner.tracing.fake_cuda.hybrid_kernels import hybrid_kernels, installed_packages
from tsplanner.tracing.fake_cuda.shapes import drop_values
from tsplanner.tracing.fake_cuda.storages import Kind, Phase, StorageLog
from tsplanner.tracing.model import build, is_adapter
from tsplanner.tracing.recording.fit import (
    ANY,
    ONE,
    SEVERAL,
    NotAffine,
    OtherProgram,
    Point,
    Rows,
    affine,
    at,
    nearest,
)
from tsplanner.tracing.recording.flops import CountingMode
from tsplanner.tracing.recording.kinds import Chosen
from tsplanner.tracing.recording.levels import levels_of
from tsplanner.tracing.recording.programs import MicroBatchPrograms, Program
from tsplanner.tracing.recording.segments import Boundaries, MicroBatch
from tsplanner.tracing.records import Subject
from tsplanner.tracing.step import Step
from tsplanner.training.adapters import decoder_layers
from tsplanner.training.batches import longest_batch

UNIT = 256
"""Tokens of the shortest row: a multiple of the chunks that state-space layers work in, and of the
rows that attention kernels pad to."""
MICRO_BATCHES = 2
"""The second finds gradients."""
TOLERANCE = 0.005
"""Share by which exact forms may miss the bytes of the fourth size, of all that a layer keeps."""
NEAR_TOLERANCE = 0.02
"""The same of forms that are only the nearest: squares of small chunks weigh most in short rows."""
SHARED = 0.05
"""Share by which it may be above them: a mask that all rows share counts for each of them, which
shows where a layer has few heads."""


class Recorder:
    """Records a model's layers, recipe by recipe."""

    def __init__(self, subject: Subject, chosen: Chosen) -> None:
        """``chosen``: the layers of the model that are recorded."""
        self.subject, self.chosen = subject, chosen

    def record(self, recipe: Recipe) -> Recording:
        """The recording under a recipe, from the layers that stand for all.

        A model may do other work for one row than for several (a view where others copy); then
        the recording is for the rows that the recipe names, and for no others.

        Raises:
            TsplannerError: the model cannot be traced, or its bytes are not affine.
        """
        use_cuda_casts()
        try:
            return self._recorded(recipe, self.chosen)
        except (KeyError, IndexError, RuntimeError):
            # What is made for all layers at once (Gemma 3n's embeddings per layer) or is found by
            # a layer's number runs only with all of them.
            return self._recorded(recipe, self.chosen.with_all())

    def _recorded(self, recipe: Recipe, chosen: Chosen) -> Recording:
        model = build(self.subject, training_settings(recipe, Point(1, 1)), 3, chosen.places)
        drop_values(model)
        runs = _Runs(model, recipe)
        rest = ONE if recipe.one_row else SEVERAL
        try:
            return runs.recording(ANY, chosen)
        except NotAffine:
            pass
        try:
            return runs.recording(rest, chosen, exact=False)
        except OtherProgram:
            pass
        except NotAffine as error:
            raise _uneven(error) from None
        try:
            return runs.recording(rest, chosen, exact=False, whole_events=False)
        except NotAffine as error:
            raise _uneven(error) from None


def _uneven(error: NotAffine) -> TsplannerError:
    return TsplannerError(
        f"The bytes of its layers do not grow evenly with its rows ({error}), so no plan can be "
        "made of them: tsplanner estimate --trace sizes one setting."
    )


def training_settings(recipe: Recipe, point: Point) -> TrainingSettings:
    """A run of two micro-batches under a recipe."""
    return TrainingSettings(
        method=recipe.method,
        base=recipe.arithmetic.base,
        kernels=Kernels(
            attention=recipe.attention,
            decoder_kernels=recipe.arithmetic.decoder_kernels,
            optimizer=Optimizer.SGD,
        ),
        # One process of ZeRO-2 has the dtypes of every stage.
        sharding=Sharding(zero_stage=2 if recipe.arithmetic.one_dtype else 0),
        batch=BatchLayout(
            micro_batch_size=point.rows,
            gradient_accumulation_steps=MICRO_BATCHES,
            gradient_checkpointing=recipe.checkpointed,
        ),
        sequence_length=point.length,
    )


class _Runs:
    """The runs of one model under one recipe, each made once."""

    def __init__(self, model: Any, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        self.made: dict[Point, Run] = {}

    def recording(
        self, rows: Rows, chosen: Chosen, *, exact: bool = True, whole_events: bool = True
    ) -> Recording:
        """The recording from runs at these sizes.

        ``exact``: every tensor has a form that misses no size; otherwise all of them together may
        miss a little. ``whole_events``: all events, not only their levels.

        Raises:
            NotAffine: there is none.
        """
        asked = rows.times(UNIT)
        runs = [self._run(point) for point in asked]
        fitted = Fitted(asked, affine if exact else nearest, whole_events)
        used = sorted(set(chosen.pattern))
        return Recording(
            layers=tuple(_layer(runs, place, self.recipe, fitted) for place in used),
            pattern=tuple(used.index(place) for place in chosen.pattern),
            stream=affine([run.stream for run in runs[:3]], asked[:3]),
            before=_around(runs, fitted),
            any_rows=rows is ANY,
        )

    def _run(self, point: Point) -> Run:
        if point not in self.made:
            self.made[point] = Run(self.model, training_settings(self.recipe, point))
        return self.made[point]


class Fitted(NamedTuple):
    """How the forms of tensors are found."""

    asked: tuple[Point, ...]
    form: Callable[[Sequence[int], Sequence[Point]], Size]
    whole_events: bool

    def of(self, values: Sequence[int]) -> Size:
        """The form of one tensor from its bytes at every size."""
        return self.form(values[:3], self.asked[:3])


class Run:
    """Two micro-batches at one size."""

    def __init__(self, model: Any, settings: TrainingSettings) -> None:
        storages = StorageLog()
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            storages.follow(tensor, name, Kind.ADAPTERS if is_adapter(name) else Kind.WEIGHTS)
        self.mode = CountingMode(storages)
        _, layers = decoder_layers(model)
        self.boundaries = Boundaries(layers, storages)
        batch = longest_batch(
            model.config,
            micro_batch_size=settings.batch.micro_batch_size,
            sequence_length=settings.sequence_length,
        )
        step = Step(model=model, optimizer=None, settings=settings, batch=batch, mode=self.mode)
        found = self._run(step)
        sizes = {number: size for number, size in storages.events if size}
        # Gradients outlive both micro-batches: what frees them here is no part of a step.
        events = storages.events[: found[-1].end]
        self.programs = [MicroBatchPrograms(events, each, sizes) for each in found]
        self.stream = sizes[found[0].inputs[1]]

    def _run(self, step: Step) -> list[MicroBatch]:
        found = []
        gc.disable()
        try:
            with ExitStack() as stack:
                for each in (
                    cuda_attention,
                    cuda_dropout,
                    cuda_norm,
                    cuda_pieces,
                    cuda_autocast_answers,
                ):
                    stack.enter_context(each())
                stack.enter_context(hybrid_kernels(step.model, installed_packages()))
                stack.enter_context(self.mode.counting_attention())
                stack.enter_context(self.boundaries.watching())
                stack.enter_context(self.mode)
                batches = [step.on_device() for _ in range(MICRO_BATCHES)]
                items = sum(batch["labels"].ne(-100).sum() for batch in batches)
                found = [self._micro_batch(step, batch, items) for batch in batches]
            step.model.zero_grad(set_to_none=True)
        finally:
            gc.enable()
        return found

    def _micro_batch(self, step: Step, batch: dict[str, torch.Tensor], items: Any) -> MicroBatch:
        storages = self.mode.storages
        storages.phase = Phase.FORWARD
        found = self.boundaries.begin()
        loss = step.loss(batch, items)
        found.between = len(storages.events)
        storages.phase = Phase.BACKWARD
        loss.backward()
        del loss
        found.end = len(storages.events)
        return found


def _layer(runs: Sequence[Run], place: int, recipe: Recipe, fitted: Fitted) -> RecordedLayer:
    """One layer: its program at the first micro-batch, and its backward at the second."""
    first, later = (
        [run.programs[micro].of(place, checkpointed=recipe.checkpointed) for run in runs]
        for micro in range(MICRO_BATCHES)
    )
    if not fitted.whole_events:
        first, later = [levels_of(each) for each in first], [levels_of(each) for each in later]
    sizes, later_sizes = _forms(first, fitted), _forms(later, fitted)
    kept: dict[Size, int] = {}
    for number in first[0].kept:
        if sizes[number] != ZERO:
            kept[sizes[number]] = kept.get(sizes[number], 0) + 1
    flops = [run.mode.flops_between(run.programs[0].found, place) for run in runs]
    return RecordedLayer(
        forward=_events(first[0].forward, sizes),
        cached=_events(first[0].cached, sizes),
        kept=tuple(kept.items()),
        backward=_events(first[0].backward, sizes),
        accumulating=_events(later[0].backward, later_sizes),
        flops=fitted.of(flops),
    )


def _around(runs: Sequence[Run], fitted: Fitted) -> Size:
    """What is made around the layers and stays: the sum of the forms of its tensors."""
    found = [run.programs[-1].around() for run in runs]
    if len({len(sizes) for sizes in found}) > 1:
        raise OtherProgram("more is made around the layers at other sizes")
    return total(fitted.of(sizes) for sizes in zip(*found, strict=True))


def _forms(programs: Sequence[Program], fitted: Fitted) -> list[Size]:
    """The form of every tensor of a layer, from its program at every size.

    Raises:
        NotAffine: the programs differ, or the forms miss the last size.
    """
    if len({program.shape for program in programs}) > 1:
        raise OtherProgram("its layers do other work at other sizes")
    each = zip(*(program.bytes for program in programs), strict=True)
    forms = [fitted.of(values) for values in each]
    last, point = programs[-1], fitted.asked[-1]
    below = TOLERANCE if fitted.form is affine else NEAR_TOLERANCE
    for numbers in (last.kept, range(len(last.bytes))):
        said = sum(at(forms[number], point) for number in numbers)
        real = sum(last.bytes[number] for number in numbers)
        if not -below * real <= said - real <= SHARED * real:
            raise NotAffine(f"{said} bytes foretold at {point.tokens} tokens, {real} found")
    return forms


def _events(signed: Sequence[tuple[int, int]], sizes: Sequence[Size]) -> tuple[Event, ...]:
    return tuple((sign, sizes[number]) for sign, number in signed if sizes[number] != ZERO)
