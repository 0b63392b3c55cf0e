"""From the fields of a row to a Conversation, by the row's form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tsplanner.datasets.records import Conversation, Noticed, Role, Turn
from tsplanner.datasets.rows.calls import tools_text
from tsplanner.datasets.rows.columns import form_by_columns, names_texts
from tsplanner.datasets.rows.fields import NULL, Fields, wrong_type
from tsplanner.datasets.rows.forms import Form, form_of, opening, unsure
from tsplanner.datasets.rows.refused import PREFERENCE, refusal, refuse_media, refuse_ratings
from tsplanner.datasets.rows.remarks import Remarks
from tsplanner.datasets.rows.turns import SEVERAL_PARTS, TEXT_KEYS, TurnReader

MOST_FORMS = 4096
"""Forms that are remembered; rows whose names of fields are data of their own are no reason for
more."""


class ConversationReader:
    """Reads rows; those with the same fields are recognised once."""

    def __init__(self, columns: Mapping[str, str] | None = None) -> None:
        """``columns``: our names of fields and the dataset's own, as `parsed_columns` gives."""
        self._columns = dict(columns or {})
        self._by_columns = names_texts(self._columns)
        self._turns = TurnReader(self._columns)
        self._forms: dict[tuple[tuple[str, ...], bytes], Form] = {}
        self._unsure: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.remarks = Remarks()
        """What was noticed in the rows that were counted."""
        self._pending: tuple[Fields, Form, list[tuple[Noticed, str]]] | None = None

    def read(self, row: Mapping[str, Any], line: int, file: int = 0) -> Conversation:
        """The conversation of a row; `count` counts what was noticed, if the row is kept.

        Raises RowError: the row cannot be read, or has a form that is not trained.
        """
        fields = Fields({name: raw for name, raw in row.items() if raw != NULL})
        form = self._form(fields, row)
        if form.media:
            refuse_media(fields, form.media)
        if form.ratings:
            refuse_ratings(fields, form.ratings)
        noticed: list[tuple[Noticed, str]] = []
        if form.text is not None:
            found = Conversation(text=fields.text(form.text), line=line, file=file)
        else:
            found = self._dialogue(fields, form, noticed, line, file)
        self._pending = fields, form, noticed
        return found

    def _form(self, fields: Fields, row: Mapping[str, Any]) -> Form:
        names = tuple(fields)
        if (found := self._unsure.get(names)) is None:
            found = unsure(names)
            if len(self._unsure) < MOST_FORMS:
                self._unsure[names] = found
        key = names, b"".join([opening(fields[name]) for name in found]) if found else b""
        form = self._forms.get(key)
        if form is None:
            if self._by_columns:
                form = form_by_columns(self._columns, fields)
            else:
                form = form_of(names, row.keys() - fields.keys(), fields)
            if len(self._forms) < MOST_FORMS:
                self._forms[key] = form
        return form

    def _dialogue(
        self,
        fields: Fields,
        form: Form,
        noticed: list[tuple[Noticed, str]],
        line: int,
        file: int,
    ) -> Conversation:
        """A row of turns, or of a question and its answer."""
        if form.turns is not None:
            turns = self._turns.read(fields, form.turns)
            noticed += self._turns.remarks
        else:
            turns = self._pair(fields, form, noticed)
        beside = form.beside
        if not beside:
            return Conversation(turns=tuple(turns), line=line, file=file)
        if "history" in beside and (history := fields.opened(beside["history"])):
            turns = self._turns.turns(beside["history"], history) + turns
            noticed += self._turns.remarks
        if "system" in beside and (text := self._system(fields, beside["system"], noticed)):
            if turns and turns[0].role in (Role.SYSTEM, Role.DEVELOPER):
                noticed.append((Noticed.IGNORED, f"{beside['system']}, as the first turn has one"))
            else:
                turns.insert(0, Turn(role=Role.SYSTEM, content=text))
        tools = fields.opened(beside["tools"]) if "tools" in beside else None
        series = fields.series(beside["timeseries"]) if "timeseries" in beside else ()
        return Conversation(
            turns=tuple(turns),
            tools=tools_text(beside["tools"], tools) if tools else "",
            timeseries=series,
            line=line,
            file=file,
        )

    def _system(self, fields: Fields, name: str, noticed: list[tuple[Noticed, str]]) -> str:
        """The system text beside the turns: a text, parts of a text, or a turn that has them.

        Raises RowError: it holds something else than text.
        """
        if bytes(fields[name])[:1] == b'"':
            return fields.text(name)
        value = fields.value(name)
        found = value
        if isinstance(found, dict):
            found = next((found[key] for key in TEXT_KEYS if key in found), None)
        parts = [
            part.get("text") if isinstance(part, dict) else part
            for part in (found if isinstance(found, list) else [found])
        ]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) < len(parts):
            raise wrong_type(name, value, "text")
        if len(texts) > 1:
            noticed.append((Noticed.GUESS, SEVERAL_PARTS))
        return "".join(texts)

    def _pair(self, fields: Fields, form: Form, noticed: list[tuple[Noticed, str]]) -> list[Turn]:
        """Turns of a question and its answer, each a text or a list of messages."""
        question = self._side(fields, form.question or "", Role.USER)
        noticed += self._turns.remarks if question else ()
        if isinstance(question, str):
            context = fields.text(form.context) if form.context else ""
            parts = [part for part in (question, context) if part]
            question = [Turn(role=Role.USER, content="\n".join(parts))]
        else:
            if form.context and fields.holds(form.context):
                noticed.append((Noticed.IGNORED, f"{form.context}, as the question has turns"))
            # Only the completion of a conversational prompt carries loss.
            question = [
                replace(turn, learned=False) if turn.role is Role.ASSISTANT else turn
                for turn in question
            ]
        answer = self._side(fields, form.answer or "", Role.ASSISTANT)
        if isinstance(answer, str):
            return [*question, Turn(role=Role.ASSISTANT, content=answer)]
        noticed += self._turns.remarks
        return question + answer

    def _side(self, fields: Fields, name: str, role: Role) -> str | list[Turn]:
        """One side of a pair: a text, or turns."""
        self._turns.remarks = []
        if bytes(fields[name])[:1] == b'"':
            text = fields.text(name)
            value = fields.opened(name) if text.lstrip().startswith("[") else None
            if not _are_messages(value):
                return text
            turns = self._turns.turns(name, value)
            self._turns.remarks.append(
                (Noticed.GUESS, f"{name}: turns, as its JSON text has roles")
            )
            return turns
        value = fields.value(name)
        if isinstance(value, dict) and ("role" in value or "from" in value):
            value = [value]
        if not isinstance(value, list):
            raise wrong_type(name, value, "text")
        if len(value) == 1 and isinstance(value[0], str) and role is Role.ASSISTANT:
            return value[0]
        if any(isinstance(each, str) for each in value):
            if role is Role.ASSISTANT:
                raise refusal(PREFERENCE, [f"several answers in {name}"])
            raise wrong_type(name, value, "text")
        return self._turns.turns(name, value)

    def count(self, line: int, file: int = 0) -> None:
        """Count what was noticed in the row that was read last."""
        if self._pending is None:
            return
        fields, form, noticed = self._pending
        note = self.remarks.note
        note(Noticed.FORM, form.name, line, file)
        for guess in form.guesses:
            note(Noticed.GUESS, guess, line, file)
        for name in form.unread:
            if fields.holds(name):
                note(Noticed.IGNORED, name, line, file)
        for kind, text in dict.fromkeys(noticed):
            note(kind, text, line, file)


def _are_messages(value: Any) -> bool:
    """Whether a value that was written as a text is a list of messages."""
    return isinstance(value, list) and any(
        isinstance(each, dict)
        and ({"role", "content"} <= each.keys() or {"from", "value"} <= each.keys())
        for each in value
    )
