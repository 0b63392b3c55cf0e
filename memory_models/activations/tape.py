"""A tape of allocations: what eager PyTorch with autograd allocates and frees, op by op.

A program of ops runs once on values that have symbolic sizes and no contents. The tape records each
allocation and each free as an event. The levels of memory, forward and backward, are the running
sums of the events, so levels and replayed events cannot disagree. Source of the rules:
torch/csrc/autograd (a node frees its saved tensors after it has run; autograd adds a second
gradient in place if nothing else holds the first one, input_buffer.cpp) and Python (a local
variable holds its tensor until the variable is rebound or its function returns).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memory_models.symbolic import (
    ALLOC,
    FREE,
    WORKSPACE,
    ZERO,
    Event,
    Node,
    Size,
    Storage,
    Value,
    Weight,
    left_over,
    times,
    total,
)


def running_levels(base: Size, events: Iterable[Event]) -> list[Size]:
    """The base if there is one, and the running sum after every allocation."""
    found = [] if base == ZERO else [base]
    per_token, constant, per_unit = base
    for sign, (tokens, fixed, units) in events:
        if sign == ALLOC:
            per_token, constant = per_token + tokens, constant + fixed
            per_unit += units
            found.append(Size(per_token, constant, per_unit))
        else:
            per_token, constant = per_token - tokens, constant - fixed
            per_unit -= units
    return found


class Tape:
    """Records the events of forward, then those of backward.

    ``saves`` off: the program runs under ``no_grad``.
    """

    def __init__(self, *, saves: bool = True) -> None:
        self.saves = saves
        self.base: Size = ZERO
        """Bytes that were there before the first event."""
        self.events: list[Event] = []
        self.nodes: list[Node] = []
        self.beyond: list[Storage] = []
        """Tensors that stay after backward."""
        self.allocations = 0
        self.last_save = 0
        """Number of allocations before the op that saved something for the last time ended."""

    @property
    def levels(self) -> list[Size]:
        """The base if there is one, and the running sum after every allocation."""
        return running_levels(self.base, self.events)

    @property
    def level(self) -> Size:
        """The running sum after the last event."""
        return total((self.base, *(times(size, sign) for sign, size in self.events)))

    def _alloc(self, size: Size) -> None:
        self.allocations += 1
        self.events.append((ALLOC, size))

    def _free(self, size: Size) -> None:
        self.events.append((FREE, size))

    def _release(self, storage: Storage) -> None:
        storage.holders -= 1
        if storage.holders == 0:
            self._free(storage.size)

    def new(self, elements: Size, bytes: int, *, needs: bool = True) -> Value:
        """A fresh tensor that one local variable holds."""
        value = self.given(elements, bytes, needs=needs)
        self._alloc(value.storage.size)
        return value

    def given(self, elements: Size, bytes: int, *, needs: bool = True) -> Value:
        """A tensor that the caller has allocated and that the program frees."""
        return Value(Storage(times(elements, bytes)), elements, bytes, needs=needs)

    def uncounted(self, elements: Size, bytes: int, *, needs: bool = True) -> Value:
        """A tensor whose bytes are counted elsewhere."""
        return Value(Storage(ZERO), elements, bytes, needs=needs)

    def drop(self, *values: Value) -> None:
        """Local variables go."""
        for value in values:
            self._release(value.storage)

    def work(self, size: Size) -> None:
        """Bytes that are allocated and freed at once; none at all are no tensor."""
        if size != ZERO:
            self._alloc(size)
            self._free(size)

    def view(self, value: Value, elements: Size | None = None) -> Value:
        """A tensor on the same storage, held by a variable of its own."""
        value.storage.holders += 1
        seen = Value(value.storage, elements or value.elements, value.bytes, needs=value.needs)
        self.record((seen,), ((value, elements is None),))
        return seen

    def split(self, value: Value, elements: Sequence[Size]) -> tuple[Value, ...]:
        """Views of the parts of a tensor; backward joins their gradients in one tensor."""
        value.storage.holders += len(elements)
        parts = tuple(
            Value(value.storage, size, value.bytes, needs=value.needs) for size in elements
        )
        self.record(parts, ((value, False),))
        return parts

    def op(
        self,
        inputs: Sequence[Value],
        elements: Size,
        bytes: int,
        *,
        saves: Sequence[Value | None] = (),
        passes: bool = False,
        work: Size = ZERO,
        weights: tuple[Weight, ...] = (),
    ) -> Value:
        """The fresh result of an op; the values in ``saves`` (None: the result) stay for backward.

        ``passes``: inputs of the result's dtype get the incoming gradient tensor itself. ``work``:
        bytes that the op's backward holds while it runs. ``weights`` get gradients too.
        """
        needs = bool(weights) or any(value.needs for value in inputs)
        before = self.allocations
        result = self.new(elements, bytes, needs=needs)
        if needs:
            self.record(
                (result,),
                tuple((value, passes and value.bytes == bytes) for value in inputs if value.needs),
                saves=[result if value is None else value for value in saves],
                work=work,
                weights=weights,
            )
            if saves and None not in saves:
                # Autograd saves inputs before the op runs. Recomputation stops at the last save,
                # so it does not make this result again.
                self.last_save = before
        return result

    def record(
        self,
        outputs: tuple[Value, ...],
        inputs: tuple[tuple[Value, bool | Storage], ...],
        *,
        saves: Sequence[Value] = (),
        work: Size = ZERO,
        weights: tuple[Weight, ...] = (),
    ) -> None:
        """Record a node for backward, unless nothing is saved."""
        if not self.saves:
            return
        for value in saves:
            value.storage.holders += 1
        if saves:
            self.last_save = self.allocations
        given = tuple(item for item in inputs if item[0].needs)
        saved = tuple(value.storage for value in saves)
        self.nodes.append(Node(outputs, given, saved, work, weights))

    def folded(self, result: Value) -> Value:
        """The result of torch's linear, which has just run: it reads its input as a matrix."""
        if self.nodes and self.nodes[-1].outputs[0] is result:
            self.nodes[-1] = self.nodes[-1]._replace(folds=True)
        return result

    def keep(self, value: Value) -> None:
        """A tensor that stays after backward: a gradient that forward made."""
        value.storage.holders += 1
        self.beyond.append(value.storage)

    def saved(self) -> tuple[Size, ...]:
        """Sizes of the tensors that are there between forward and backward, without variables."""
        storages = [storage for node in self.nodes for storage in node.saved]
        found = {id(storage): storage.size for storage in (*storages, *self.beyond)}
        return tuple(size for size in found.values() if size != ZERO)

    def kept(self) -> Size:
        """The sum of the sizes in ``saved``."""
        return total(self.saved())

    def unsaved(self, events: Iterable[Event]) -> list[Event]:
        """The frees (and allocations) that leave only what is saved, after ``events``."""
        return left_over(events, self.saved())

    def backward(
        self, output: Value, *, accumulates: bool, recomputed: bool, product: int | None = None
    ) -> list[Event]:
        """Record backward in place of forward; the gradient of ``output`` is there already.

        ``recomputed``: forward runs again when backward needs the first saved tensor, up to the
        last save, while the gradients so far wait. ``accumulates``: parameters have gradients
        already. ``product``: index of the node whose product is the first one in backward's thread;
        ``WORKSPACE`` stands where that node runs.
        """
        again = self._recomputation() if recomputed else []
        self.base = total((output.size, ZERO if recomputed else self.kept()))
        self._hold_saved_only()
        self.events = []
        gradients = {id(output): Storage(output.size)}
        waiting = recomputed
        for place, node in reversed(list(enumerate(self.nodes))):
            if waiting and node.saved and any(id(value) in gradients for value in node.outputs):
                waiting = False
                self.events += again
            if place == product:
                self.events.append(WORKSPACE)
            self._play(node, gradients, accumulates=accumulates)
        return self.events

    def _recomputation(self) -> list[Event]:
        """Events of forward up to the last save, and the frees that leave only what is saved."""
        again = self._until_last_save()
        return again + self.unsaved(again)

    def _until_last_save(self) -> list[Event]:
        allocated = 0
        for place, (sign, _) in enumerate(self.events):
            allocated += sign == ALLOC
            if allocated > self.last_save:
                return self.events[:place]
        return list(self.events)

    def _hold_saved_only(self) -> None:
        """Local variables are gone: only what backward needs holds its storage."""
        for node in self.nodes:
            for storage in node.saved:
                storage.holders = 0
        for node in self.nodes:
            for storage in node.saved:
                storage.holders += 1

    def _play(self, node: Node, gradients: dict[int, Storage], *, accumulates: bool) -> None:
        """Run one node: gradients come in, gradients go out, saved tensors go."""
        incoming = [gradients.pop(id(value)) for value in node.outputs if id(value) in gradients]
        if incoming:
            self._alloc(node.work)
            self._pass_on(node, incoming[0], gradients)
            for weight in node.weights:
                self._alloc(weight.fresh)
            self._free(node.work)
        for storage in incoming:
            self._release(storage)
        for storage in node.saved:
            self._release(storage)
        if incoming:
            self._finish(node.weights, accumulates=accumulates)

    def _pass_on(self, node: Node, incoming: Storage, gradients: dict[int, Storage]) -> None:
        """Gradients of a node's inputs."""
        for value, passed in node.inputs:
            if passed:
                gradient = incoming if passed is True else passed
                gradient.holders += 1
            else:
                gradient = Storage(value.size, viewed=node.folds)
                self._alloc(gradient.size)
            self._add(gradients, id(value), gradient)

    def _finish(self, weights: tuple[Weight, ...], *, accumulates: bool) -> None:
        """Gradients of parameters: cast to their dtype, then added to what is there already."""
        for weight in weights:
            if weight.stored != weight.operand:
                self._alloc(weight.final)
                self._free(weight.fresh)
            if accumulates:
                self._free(weight.final)

    def _add(self, gradients: dict[int, Storage], key: int, gradient: Storage) -> None:
        """Give a value its gradient, or add to the gradient that it has."""
        earlier = gradients.get(key)
        if earlier is None:
            gradients[key] = gradient
        elif earlier.holders == 1 and not earlier.viewed:
            # Nothing else holds the first gradient, so autograd adds the second one in place.
            self._release(gradient)
        else:
            summed = Storage(gradient.size)
            self._alloc(summed.size)
            gradients[key] = summed
            self._release(earlier)
            self._release(gradient)
