"""Formats of a dataset: how each is recognised, and how one row becomes a Sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import msgspec

from memory_models.frozen import frozen
from tsplanner.datasets.records import Sample
from tsplanner.datasets.rows.checks import LARGEST_VALUE
from tsplanner.errors import named

Value: TypeAlias = Annotated[float, msgspec.Meta(ge=-LARGEST_VALUE, le=LARGEST_VALUE)]
"""A value of a series. msgspec checks its range while decoding: a loop over the values would
take more time than all other work on a row."""


MEDIA = ("image", "images", "video", "videos", "audio", "audios")
"""Fields that other trainers read images, films and sounds from."""
NOTHING = frozenset({b"null", b"[]", b'""'})
_ABSENT = msgspec.Raw(b"null")


class _Row(msgspec.Struct, kw_only=True):
    """What no format here reads; it stays undecoded, as an image can be some megabytes of text."""

    image: msgspec.Raw = _ABSENT
    images: msgspec.Raw = _ABSENT
    video: msgspec.Raw = _ABSENT
    videos: msgspec.Raw = _ABSENT
    audio: msgspec.Raw = _ABSENT
    audios: msgspec.Raw = _ABSENT


def media_of(row: msgspec.Struct) -> str | None:
    """The first field of a decoded row that holds an image, a film or a sound; None: none does."""
    for name in MEDIA:
        value = getattr(row, name)
        if value is not _ABSENT and bytes(value) not in NOTHING:
            return name
    return None


class _ChatTSRow(_Row):
    input: str
    output: str
    timeseries: tuple[tuple[Value, ...], ...] = ()


class _AlpacaRow(_Row):
    instruction: str
    output: str
    input: str = ""
    system: str = ""


class _ShareGPTTurn(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    text: str = msgspec.field(name="value")


class _ShareGPTRow(_Row):
    conversations: list[_ShareGPTTurn]
    system: str = ""


class _MessagesTurn(msgspec.Struct):
    speaker: str = msgspec.field(name="role")
    text: str = msgspec.field(name="content")


class _MessagesRow(_Row):
    messages: list[_MessagesTurn]


class RowError(ValueError):
    """A row that has the fields of its format but no usable dialogue; the text is the reason."""


Turn: TypeAlias = _ShareGPTTurn | _MessagesTurn

_ROLES: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_call": "assistant",
}


def _chatts_sample(row: _ChatTSRow, line: int) -> Sample:
    return Sample(input=row.input, output=row.output, timeseries=row.timeseries, line=line)


def _alpaca_sample(row: _AlpacaRow, line: int) -> Sample:
    parts = [part for part in (row.system, row.instruction, row.input) if part]
    return Sample(input="\n".join(parts), output=row.output, line=line)


def _dialogue_sample(turns: list[Turn], system: str, line: int) -> Sample:
    """A sample whose answer is the last answer of the dialogue, and whose question is the rest.

    A single question stays as it is. Several earlier turns are joined, each behind its role.
    """
    roles = []
    for turn in turns:
        if turn.speaker not in _ROLES:
            raise RowError(f"unknown speaker {named(turn.speaker)}")
        roles.append(_ROLES[turn.speaker])
    answers = [index for index, role in enumerate(roles) if role == "assistant"]
    if not answers or answers[-1] == 0:
        raise RowError("no question followed by an answer")
    before = [(role, turn.text) for role, turn in zip(roles, turns, strict=True)][: answers[-1]]
    if system:
        before.insert(0, ("system", system))
    if len(before) == 1:
        question = before[0][1]
    else:
        question = "\n".join(f"{role}: {text}" for role, text in before)
    return Sample(input=question, output=turns[answers[-1]].text, line=line)


def _sharegpt_sample(row: _ShareGPTRow, line: int) -> Sample:
    return _dialogue_sample(list(row.conversations), row.system, line)


def _messages_sample(row: _MessagesRow, line: int) -> Sample:
    return _dialogue_sample(list(row.messages), "", line)


@frozen
class RowFormat:
    """One format: the fields that identify it, the type of a row and the way to a Sample."""

    name: str
    sign: frozenset[str]
    """Fields that the first row of this format has."""
    row_type: type[msgspec.Struct]
    to_sample: Callable[..., Sample]
    holds_series: bool = False


# The order is that of detection: ChatTS comes first, since alpaca has ``input`` and ``output`` too.
FORMATS: tuple[RowFormat, ...] = (
    RowFormat(
        name="chatts",
        sign=frozenset({"input", "output", "timeseries"}),
        row_type=_ChatTSRow,
        to_sample=_chatts_sample,
        holds_series=True,
    ),
    RowFormat(
        name="sharegpt",
        sign=frozenset({"conversations"}),
        row_type=_ShareGPTRow,
        to_sample=_sharegpt_sample,
    ),
    RowFormat(
        name="messages",
        sign=frozenset({"messages"}),
        row_type=_MessagesRow,
        to_sample=_messages_sample,
    ),
    RowFormat(
        name="alpaca",
        sign=frozenset({"instruction", "output"}),
        row_type=_AlpacaRow,
        to_sample=_alpaca_sample,
    ),
    # Rows of this sign may be alpaca's as well, so it is tried after alpaca's.
    RowFormat(
        name="chatts",
        sign=frozenset({"input", "output"}),
        row_type=_ChatTSRow,
        to_sample=_chatts_sample,
        holds_series=True,
    ),
)


def format_of(fields: frozenset[str]) -> RowFormat | None:
    """The format that these field names identify; None for an unknown format.

    A ChatTS file is recognised even if its first row lacks ``output``, because no other format has
    ``timeseries``.
    """
    for candidate in FORMATS:
        if candidate.sign <= fields:
            return candidate
    return FORMATS[0] if "timeseries" in fields else None
