"""The cards that a CUDA program would see, by CUDA_VISIBLE_DEVICES and MIG slices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from memory_models.frozen import frozen

UUID_PREFIXES = ("GPU-", "MIG-")
Entry = TypeVar("Entry", int, str)
# No machine has a million GPUs, and Python refuses to convert a number of many digits.
_NUMBER = re.compile(r"[+-]?[0-9]{1,6}")


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
    """Cards and slices in the order of torch's numbers.

    ``visible`` is the value of CUDA_VISIBLE_DEVICES (None: not set). Its first entry says whether
    it lists indices, UUIDs of cards or UUIDs of slices; the list ends at the first entry of
    another kind, or that names nothing: the empty text and ``-1`` hide everything. An entry that
    comes twice hides everything as well. A GPU in MIG mode means all its slices.

    Source: ``torch.cuda._parse_visible_devices`` and ``_transform_uuid_to_ordinals`` (torch 2.13).
    """
    handles = [
        nvml.ask("nvmlDeviceGetHandleByIndex", index)
        for index in range(nvml.ask("nvmlDeviceGetCount") or 0)
    ]
    gpus = [tuple(_slices(nvml, handle)) for handle in handles if handle is not None]
    if visible is None:
        return tuple(card for gpu in gpus for card in gpu)
    chosen: list[tuple[Card, ...]] = []
    for entry in visible_entries(visible):
        cards = _named(nvml, gpus, entry)
        if not cards:
            break
        if cards in chosen:
            return ()
        chosen.append(cards)
    return tuple(card for cards in chosen for card in cards)


def visible_entries(visible: str) -> list[int] | list[str]:
    """The indices, or the beginnings of UUIDs, that a value of CUDA_VISIBLE_DEVICES lists.

    Empty where the value hides every GPU: nothing is listed, or one thing twice.
    """
    prefix = next((known for known in UUID_PREFIXES if visible.startswith(known)), None)
    if prefix is not None:
        return _until(visible.split(","), lambda entry: entry.startswith(prefix))
    numbers = [_leading_number(entry.strip()) for entry in visible.split(",")]
    return _until(numbers, lambda number: number >= 0)


def _until(entries: list[Entry], usable: Callable[[Entry], bool]) -> list[Entry]:
    """The entries before the first one that is not usable; none if one of them comes twice."""
    found: list[Entry] = []
    for entry in entries:
        if entry in found:
            return []
        if not usable(entry):
            break
        found.append(entry)
    return found


def _leading_number(entry: str) -> int:
    """The number that an entry begins with, as ``strtoul`` of C reads ``1gpu2``; else -1."""
    found = _NUMBER.match(entry)
    return int(found.group()) if found else -1


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


def _named(nvml: Asks, gpus: list[tuple[Card, ...]], entry: int | str) -> tuple[Card, ...]:
    """The cards that one entry of the list names; empty for an unknown or ambiguous entry."""
    if isinstance(entry, int):
        return gpus[entry] if entry < len(gpus) else ()
    whole = [gpu for gpu in gpus if gpu and _matches(nvml, gpu[0].parent, entry)]
    if len(whole) == 1:
        return whole[0]
    slices = [
        card for gpu in gpus for card in gpu if card.mig and _matches(nvml, card.handle, entry)
    ]
    return tuple(slices) if len(slices) == 1 else ()


def _matches(nvml: Asks, handle: Any, entry: str) -> bool:
    """Whether an entry begins the UUID of a card or of a slice."""
    uuid = nvml.text("nvmlDeviceGetUUID", handle)
    return uuid is not None and uuid.startswith(entry)
