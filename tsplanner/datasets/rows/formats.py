"""Formats of a dataset: how each is recognised, and how one row becomes a Conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import msgspec

from memory_models.frozen import frozen
from tsplanner.datasets.records import Conversation, Role, Turn
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


SpokenTurn: TypeAlias = _ShareGPTTurn | _MessagesTurn

_ROLES: Mapping[str, Role] = {
    "human": Role.USER,
    "user": Role.USER,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.DEVELOPER,
    "tool": Role.TOOL,
    "observation": Role.TOOL,
    "function_call": Role.ASSISTANT,
}


def asked_and_answered(question: str, answer: str) -> tuple[Turn, Turn]:
    """A question of the user and the answer to it."""
    return Turn(role=Role.USER, content=question), Turn(role=Role.ASSISTANT, content=answer)


def _chatts_row(row: _ChatTSRow, line: int) -> Conversation:
    return Conversation(
        turns=asked_and_answered(row.input, row.output), timeseries=row.timeseries, line=line
    )


def _alpaca_row(row: _AlpacaRow, line: int) -> Conversation:
    question = "\n".join(part for part in (row.instruction, row.input) if part)
    turns = (*_system(row.system), *asked_and_answered(question, row.output))
    return Conversation(turns=turns, line=line)


def _system(text: str) -> tuple[Turn, ...]:
    return (Turn(role=Role.SYSTEM, content=text),) if text else ()


def _dialogue(turns: list[SpokenTurn], system: str, line: int) -> Conversation:
    """The turns up to the last answer."""
    found = list(_system(system))
    for turn in turns:
        if turn.speaker not in _ROLES:
            raise RowError(f"unknown speaker {named(turn.speaker)}")
        found.append(Turn(role=_ROLES[turn.speaker], content=turn.text))
    while found and found[-1].role is not Role.ASSISTANT:
        found.pop()
    if len(found) < 2:
        raise RowError("no question followed by an answer")
    return Conversation(turns=tuple(found), line=line)


def _sharegpt_row(row: _ShareGPTRow, line: int) -> Conversation:
    return _dialogue(list(row.conversations), row.system, line)


def _messages_row(row: _MessagesRow, line: int) -> Conversation:
    return _dialogue(list(row.messages), "", line)


@frozen
class RowFormat:
    """One format: the fields that identify it, the type of a row and the way to a Conversation."""

    name: str
    sign: frozenset[str]
    """Fields that the first row of this format has."""
    row_type: type[msgspec.Struct]
    to_conversation: Callable[..., Conversation]
    holds_series: bool = False


# The order is that of detection: ChatTS comes first, since alpaca has ``input`` and ``output`` too.
FORMATS: tuple[RowFormat, ...] = (
    RowFormat(
        name="chatts",
        sign=frozenset({"input", "output", "timeseries"}),
        row_type=_ChatTSRow,
        to_conversation=_chatts_row,
        holds_series=True,
    ),
    RowFormat(
        name="sharegpt",
        sign=frozenset({"conversations"}),
        row_type=_ShareGPTRow,
        to_conversation=_sharegpt_row,
    ),
    RowFormat(
        name="messages",
        sign=frozenset({"messages"}),
        row_type=_MessagesRow,
        to_conversation=_messages_row,
    ),
    RowFormat(
        name="alpaca",
        sign=frozenset({"instruction", "output"}),
        row_type=_AlpacaRow,
        to_conversation=_alpaca_row,
    ),
    # Rows of this sign may be alpaca's as well, so it is tried after alpaca's.
    RowFormat(
        name="chatts",
        sign=frozenset({"input", "output"}),
        row_type=_ChatTSRow,
        to_conversation=_chatts_row,
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
