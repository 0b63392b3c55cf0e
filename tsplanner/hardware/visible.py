"""The cards that a CUDA program would see, by CUDA_VISIBLE_DEVICES and MIG slices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from memory_models.frozen import frozen


class Asks(Protocol):
    """Answers NVML functions, with None for those without an answer."""

    def ask(self, name: str, *arguments: Any) -> Any:
        """The answer of an NVML function."""

    def text(self, name: str, *arguments: Any) -> str | None:
        """The answer of an NVML function as text."""


@frozen
class Card:
    """A handle to a GPU or to a MIG slice of one."""

    handle: Any
    parent: Any
    """Handle of the GPU; the same as ``handle`` for a whole GPU."""
    mig: bool = False


def visible_cards(nvml: Asks, visible: str | None) -> tuple[Card, ...]:
    """Cards and slices in the order of CUDA's numbers.

    ``visible`` is the value of CUDA_VISIBLE_DEVICES (None: not set). Its entries are indices, UUIDs
    or unique beginnings of UUIDs. As in CUDA the list ends at the first entry that names nothing:
    the empty text and ``-1`` hide everything. A GPU in MIG mode means all its slices.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables".
    """
    handles = [
        nvml.ask("nvmlDeviceGetHandleByIndex", index)
        for index in range(nvml.ask("nvmlDeviceGetCount") or 0)
    ]
    gpus = [tuple(_slices(nvml, handle)) for handle in handles if handle is not None]
    if visible is None:
        return tuple(card for gpu in gpus for card in gpu)
    chosen: list[Card] = []
    for entry in visible.split(","):
        cards = _named(nvml, gpus, entry.strip())
        if not cards:
            break
        chosen += [card for card in cards if card not in chosen]
    return tuple(chosen)


def _slices(nvml: Asks, gpu: Any) -> Iterator[Card]:
    """The card, or its slices in MIG mode, where only slices can run a program."""
    mode = nvml.ask("nvmlDeviceGetMigMode", gpu)
    if not mode or mode[0] != 1:
        yield Card(handle=gpu, parent=gpu)
        return
    for index in range(nvml.ask("nvmlDeviceGetMaxMigDeviceCount", gpu) or 0):
        handle = nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", gpu, index)
        if handle is not None:
            yield Card(handle=handle, parent=gpu, mig=True)


def _named(nvml: Asks, gpus: list[tuple[Card, ...]], entry: str) -> tuple[Card, ...]:
    """The cards that one entry of the list names; empty for an unknown or ambiguous entry."""
    if entry.isascii() and entry.isdecimal():
        # No machine has a million GPUs, and Python refuses to convert a number of many digits.
        return gpus[int(entry[:6])] if int(entry[:6]) < len(gpus) else ()
    if not entry:
        return ()
    whole = [gpu for gpu in gpus if gpu and _matches(nvml, [gpu[0].parent], entry)]
    if len(whole) == 1:
        return whole[0]
    slices = [
        card for gpu in gpus for card in gpu if card.mig and _matches(nvml, [card.handle], entry)
    ]
    return tuple(slices) if len(slices) == 1 else ()


def _matches(nvml: Asks, handles: Iterable[Any], entry: str) -> bool:
    """Whether an entry begins the UUID of one of the handles."""
    uuids = (nvml.text("nvmlDeviceGetUUID", handle) for handle in handles)
    return any(uuid is not None and uuid.lower().startswith(entry.lower()) for uuid in uuids)
