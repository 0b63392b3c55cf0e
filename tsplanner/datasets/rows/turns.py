"""The turns of a dialogue, in the spellings of datasets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from tsplanner.datasets.records import Fault, Noticed, Role, ToolCall, Turn
from tsplanner.datasets.rows.calls import calls_in_text, turn_calls, without_tool_parts
from tsplanner.datasets.rows.fields import Fields, RowError, kind_of
from tsplanner.datasets.rows.plain_turns import plain_turns
from tsplanner.datasets.rows.roles import CALL, ROLES, role_of
from tsplanner.errors import named

ROLE_KEYS = ("role", "from", "speaker", "author", "sender", "type")
TEXT_KEYS = ("content", "value", "text", "utterance", "message", "parts")
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
CALL_KEYS = ("tool_calls", "function_call")
LOSS_KEYS: Mapping[str, bool] = {
    "weight": True,
    "loss_weight": True,
    "loss": True,
    "train": True,
    "training": True,
    "masked": False,
    "output_with_loss": True,
}
"""Fields by which a row says whether a turn carries loss, and what 1 or true means in each."""
DETAILS = ("train_detail", "loss_scale")
"""Fields by which other trainers weigh parts of a turn, or turns by shares."""
LEARNED_ANSWER = "output_with_loss"
"""Field of a pair that says whether its answer carries loss, as XTuner's rows have it."""
PAIR_KEYS = (
    ("input", "output"), ("user", "assistant"), ("human", "assistant"), ("query", "response"),
    ("question", "answer"), ("prompt", "response"), ("prompt", "completion"),
    ("instruction", "output"),
)  # fmt: skip
"""Fields of a turn that is a question and its answer at once."""
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
SEVERAL_PARTS = "several parts of a content: one text"
THOUGHT_PARTS = frozenset({"thinking", "reasoning"})
MOST_SHAPES = 4096
"""Shapes of turns that are remembered."""


def asked_and_answered(question: str, answer: str) -> tuple[Turn, Turn]:
    """A question of the user and the answer to it."""
    return Turn(role=Role.USER, content=question), Turn(role=Role.ASSISTANT, content=answer)


class _Shape(NamedTuple):
    """How turns with the same fields are read."""

    role: str
    text: str
    rest: tuple[str, ...]
    """All other fields."""


class TurnReader:
    """Reads turns; turns with the same fields are looked at once."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        """``names``: what a user said about names: ``role``, ``content``, or a role's name."""
        given = names or {}
        self._plain = not given.keys() & {"role", "content", *Role}
        self._role_keys = (given["role"],) if "role" in given else ROLE_KEYS
        self._text_keys = (given["content"],) if "content" in given else TEXT_KEYS
        self._roles = {given[role]: str(role) for role in Role if role in given}
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}
        self.remarks: list[tuple[Noticed, str]] = []
        """What was noticed in the last dialogue."""

    def read(self, fields: Fields, name: str) -> list[Turn]:
        """The turns of a field of a row; see `turns` for what is raised."""
        self.remarks = []
        if self._plain and (found := plain_turns(fields[name])) is not None:
            return found
        return self.turns(name, fields.opened(name))

    def turns(self, name: str, value: Any) -> list[Turn]:
        """The turns of a value.

        Raises RowError: they are no list of turns, or one of them cannot be read.
        """
        self.remarks = []
        if isinstance(value, dict):
            value = _from_columns(value)
        if not isinstance(value, list):
            raise not_turns(name, value)
        if value and all(isinstance(each, str) for each in value):
            if all(each.startswith("{") for each in value) and (inner := _opened(value)):
                return self.turns(name, inner)
            self.remarks.append((Noticed.GUESS, f"texts of {name}: user and assistant by turns"))
            roles = (Role.USER, Role.ASSISTANT)
            return [Turn(role=roles[place % 2], content=text) for place, text in enumerate(value)]
        turns: list[Turn] = []
        for place, each in enumerate(value, start=1):
            if not isinstance(each, dict):
                turns += self._pair(each, place)
                continue
            for item in without_tool_parts(_without_nulls(each)):
                shape = self._shape(item)
                if shape is None:
                    turns += self._pair(item, place)
                else:
                    turns.append(self._turn(item, shape, place))
        return turns

    def _shape(self, item: dict[str, Any]) -> _Shape | None:
        """The shape of a turn; None: it has no field for the role."""
        fields = tuple(item)
        if fields not in self._shapes:
            text = next((key for key in self._text_keys if key in item), "")
            # A type beside no text is that of a question and its answer.
            keys = (key for key in self._role_keys if key in item and (text or key != "type"))
            role = next(keys, None)
            rest = tuple(key for key in fields if key not in (role, text))
            if len(self._shapes) >= MOST_SHAPES:
                self._shapes.clear()
            self._shapes[fields] = None if role is None else _Shape(role, text, rest)
        return self._shapes[fields]

    def _turn(self, item: dict[str, Any], shape: _Shape, place: int) -> Turn:
        name, text = item[shape.role], item.get(shape.text)
        role = ROLES.get(name) if isinstance(name, str) else None
        if role is None or self._roles:
            role = self._guessed(name, place)
        if role is not CALL and isinstance(text, str) and not shape.rest:
            return Turn(role=Role(role), content=text)
        return self._rich(item, shape, role, place)

    def _guessed(self, name: object, place: int) -> str:
        if isinstance(name, str) and name in self._roles:
            return self._roles[name]
        role, guess = role_of(name, place)
        if guess:
            shown = "assistant, with a call" if role == CALL else role
            self.remarks.append((Noticed.GUESS, f"role {named(name)}: {shown}"))
        return role

    def _rich(self, item: dict[str, Any], shape: _Shape, role: str, place: int) -> Turn:
        """A turn with more than a role and a text."""
        text, thoughts = self._content(item.get(shape.text), shape.text, place)
        found: dict[str, Any] = {"thoughts": thoughts}
        for key in shape.rest:
            if item[key] not in ("", [], {}):
                self._beside(found, key, item[key], place)
        if role == CALL:
            found["tool_calls"], text = self._call(found.get("tool_calls", ()), text)
        if not shape.text and not found.get("tool_calls") and not found["thoughts"]:
            wanted = self._text_keys[0]
            raise RowError(f'turn {place}: field "{wanted}" is missing', Fault.MISSING_FIELD)
        return Turn(
            role=Role.ASSISTANT if role == CALL else Role(role),
            content=text,
            **found,
        )

    def _beside(self, found: dict[str, Any], key: str, value: Any, place: int) -> None:
        """Read a field of a turn that is neither its role nor its text."""
        if key in THOUGHT_KEYS:
            self._think(found, key, _string(value, key, place))
        elif key in CALL_KEYS:
            found["tool_calls"] = found.get("tool_calls", ()) + turn_calls(value, place)
        elif key in LOSS_KEYS:
            learned = _learned(key, value, place)
            if found.setdefault("learned", learned) is not learned:
                reason = f"turn {place}: {key} says otherwise than another field of the turn"
                raise RowError(reason, Fault.WEIGHT)
        elif key in ("name", "tool_call_id"):
            found[key] = _string(value, key, place)
        elif key in DETAILS:
            reason = f"turn {place}: {key} weighs parts of a turn, which is learned whole or not"
            raise RowError(reason, Fault.WEIGHT)
        else:
            _refuse_media(key, place)
            self.remarks.append((Noticed.IGNORED, f"{key} of a turn"))

    def _think(self, found: dict[str, Any], key: str, thoughts: str) -> None:
        """Keep the thoughts of a turn; a second field of them is not read."""
        if not found["thoughts"]:
            found["thoughts"] = thoughts
        elif found["thoughts"] != thoughts:
            self.remarks.append((Noticed.IGNORED, f"{key} of a turn"))

    def _call(self, calls: tuple[ToolCall, ...], text: str) -> tuple[tuple[ToolCall, ...], str]:
        """Calls and text of a turn whose text is a call."""
        found = calls_in_text(text)
        if found is None:
            if text:
                self.remarks.append((Noticed.GUESS, "function_call without JSON: plain text"))
            return calls, text
        return calls + found, ""

    def _content(self, value: Any, key: str, place: int) -> tuple[str, str]:
        """Text and thoughts of a content: text, parts, or null."""
        if isinstance(value, str):
            return value, ""
        if value is None:
            return "", ""
        if not isinstance(value, list):
            raise RowError(f'turn {place}: "{key}" is {kind_of(value)}, not text', Fault.WRONG_TYPE)
        parts = [_part(each, place) for each in value]
        texts = [text for text, _ in parts if text]
        if len(texts) > 1:
            self.remarks.append((Noticed.GUESS, SEVERAL_PARTS))
        return "".join(texts), "".join(thought for _, thought in parts)

    def _pair(self, item: Any, place: int) -> Iterator[Turn]:
        """A question and its answer in one element of a dialogue."""
        if isinstance(item, list) and len(item) == 2 and all(isinstance(e, str) for e in item):
            yield from asked_and_answered(*item)
            return
        if not isinstance(item, dict):
            raise RowError(f"turn {place} is {kind_of(item)}, not an object", Fault.WRONG_TYPE)
        keys = next((keys for keys in PAIR_KEYS if all(key in item for key in keys)), None)
        if keys is None:
            wanted = self._role_keys[0]
            raise RowError(f'turn {place}: field "{wanted}" is missing', Fault.MISSING_FIELD)
        system, learned = item.get("system"), item.get(LEARNED_ANSWER)
        if system:
            yield Turn(role=Role.SYSTEM, content=_string(system, "system", place))
        question, answer = (_string(item[key], key, place) for key in keys)
        if question or not system:
            yield Turn(role=Role.USER, content=question)
        yield Turn(
            role=Role.ASSISTANT,
            content=answer,
            learned=None if learned is None else _learned(LEARNED_ANSWER, learned, place),
        )
        for key in item:
            if key not in (*keys, "system", LEARNED_ANSWER) and item[key] not in (None, "", []):
                self.remarks.append((Noticed.IGNORED, f"{key} of a turn"))


def _from_columns(value: dict[str, Any]) -> Any:
    """Turns of an object of columns, as ``datasets`` keeps a sequence of objects."""
    columns = list(value.values())
    lengths = {len(each) if isinstance(each, list) else -1 for each in columns}
    if len(lengths) != 1 or -1 in lengths:
        return value
    return [dict(zip(value, each, strict=True)) for each in zip(*columns, strict=True)]


def _opened(texts: list[str]) -> list[Any]:
    """Objects that were written as texts; empty: one of the texts is no JSON."""
    try:
        return [msgspec.json.decode(text) for text in texts]
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return []


def _without_nulls(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn without the nulls that libraries fill in for fields that only other turns have."""
    if None not in turn.values():
        return turn
    return {key: value for key, value in turn.items() if value is not None}


def _part(part: Any, place: int) -> tuple[str, str]:
    """Text and thoughts of a part of a content."""
    if isinstance(part, str):
        return part, ""
    if not isinstance(part, dict):
        raise RowError(f"turn {place}: a part is {kind_of(part)}", Fault.WRONG_TYPE)
    # Parts of Gemini and Bedrock are named by their field.
    kind = part.get("type", "text" if "text" in part else next(iter(part), ""))
    kind = _string(kind, "type", place)
    if kind in TEXT_PARTS and part.get("thought") is True:
        # Gemini's thoughts are text parts with a mark.
        return "", _string(part.get("text"), "text", place)
    # LLaMA-Factory's v1 rows have the value of every kind of part under the same name.
    text = part.get("text", part.get("value"))
    if kind in TEXT_PARTS:
        return _string(text, "text", place), ""
    if kind in THOUGHT_PARTS:
        return "", _string(part.get("thinking", text), "thinking", place)
    _refuse_media(kind, place)
    raise RowError(
        f"turn {place}: a part of the type {named(kind)} is not read; give text parts", Fault.PART
    )


def _refuse_media(name: str, place: int) -> None:
    if any(word in name.lower() for word in ("image", "video", "audio")):
        raise RowError(
            f"turn {place}: {named(name)}, and only text and series are trained", Fault.MEDIA
        )


def not_turns(name: str, value: Any) -> RowError:
    """The error for a field that holds something else than turns."""
    hint = ""
    if isinstance(value, str) and value.startswith("["):
        hint = "; it looks like Python's own writing of a list: save the rows as JSON or Parquet"
    reason = f"field {named(name)} is {kind_of(value)}, not a list of turns{hint}"
    return RowError(reason, Fault.WRONG_TYPE)


def _string(value: Any, key: str, place: int) -> str:
    if isinstance(value, str):
        return value
    raise RowError(f"turn {place}: {named(key)} is {kind_of(value)}, not text", Fault.WRONG_TYPE)


def _learned(key: str, value: Any, place: int) -> bool:
    """Whether a turn carries loss, as its field says."""
    if value in (0, 1):  # true and false are equal to them
        return bool(value) is LOSS_KEYS[key]
    if isinstance(value, int | float):
        raise RowError(
            f"turn {place}: {key} {value}: a turn is learned whole (1) or not (0), not by a share",
            Fault.WEIGHT,
        )
    raise RowError(f'turn {place}: "{key}" is {kind_of(value)}, not 0 or 1', Fault.WRONG_TYPE)
