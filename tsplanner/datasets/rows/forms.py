"""Forms of rows: which fields hold a row's texts, decided once for rows with the same fields."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from memory_models.frozen import frozen
from tsplanner.datasets.records import Fault
from tsplanner.datasets.rows.fields import Fields, RowError, listed
from tsplanner.datasets.rows.refused import (
    ALWAYS,
    MEDIA,
    RATINGS,
    WITHOUT_ANSWER,
    WITHOUT_TEXT,
    refuse,
)
from tsplanner.errors import named

DIALOGUES: Mapping[str, str] = {
    "messages": "OpenAI messages",
    "conversations": "ShareGPT",
    "conversation": "ShareGPT",
    "dialogue": "dialogue",
    "dialog": "dialogue",
    "turns": "dialogue",
    "chat": "dialogue",
    "data": "dialogue",
    "contents": "Gemini contents",
    "chat_messages": "dialogue",
}
"""Fields that hold turns, and the name of the form."""
SURE = frozenset({"messages", "conversations"})
"""Those that hold nothing else; others may hold a text, such as a dialogue to be summarised."""
OPENING_BYTES = 8
"""First bytes of a value, among which its bracket is looked for."""
QUESTIONS = (
    "instruction", "prompt", "question", "query", "problem", "user", "human", "inputs", "input",
    "input_text", "text_input", "指令", "问题", "输入",
)  # fmt: skip
ANSWERS = (
    "output", "completion", "response", "answer", "solution", "assistant", "reply", "target",
    "targets", "outputs", "answers", "generation", "output_text",
    "回答", "答案", "输出",
)  # fmt: skip
"""Fields of a question and of its answer; of several the first is read."""
PARTNERS: Mapping[str, str] = {
    "instruction": "output", "prompt": "completion", "question": "answer", "query": "response",
    "problem": "solution", "user": "assistant", "human": "assistant", "inputs": "targets",
    "input": "output", "input_text": "output_text", "text_input": "output",
    "指令": "输出", "问题": "回答", "输入": "输出",
}  # fmt: skip
"""The usual answer to each question, for the message where there is none."""
CONTEXTS = ("input", "context", "输入")
"""Further text of a question."""
TEXTS = ("text", "content", "document", "raw_content")
"""Plain text, for continued pretraining."""
BESIDE_TEXT = ("summary", "highlights", "translation", "title_answer")
"""Fields beside a plain text that may be what is to be learned."""
SYSTEMS = (
    "system", "system_prompt", "system_message", "systeminstruction", "system_instruction",
)  # fmt: skip
TOOLS = ("tools", "functions")
HISTORIES = ("history",)
SERIES = ("timeseries", "time_series")

KNOWN = (
    "messages + roles, instruction + output, prompt + completion, question + answer, text, "
    "or input + output + timeseries"
)


@frozen
class Form:
    """Where the texts of a row stand; every value is the name of a field as the file has it."""

    name: str
    turns: str | None = None
    question: str | None = None
    context: str | None = None
    answer: str | None = None
    text: str | None = None
    beside: Mapping[str, str]
    """``system``, ``tools``, ``history`` and ``timeseries``, as far as the row has them."""
    media: tuple[str, ...] = ()
    """Fields that must be empty, since they hold no text."""
    ratings: tuple[str, ...] = ()
    """Fields that may rate the answer."""
    unread: tuple[str, ...] = ()
    """All other fields."""
    guesses: tuple[str, ...] = ()
    """What was guessed about names, a clause each."""


def form_of(names: Collection[str], nulls: Collection[str], row: Fields) -> Form:
    """The form of a row whose fields with these names are not null.

    Raises RowError: the form is unknown, known and not trained, or a field of it is missing.
    """
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(_plain(name), name)
    refuse(ALWAYS, plain)
    parts = _turns(plain, row, b"[") or _pair(plain)
    if parts is None:
        refuse(WITHOUT_ANSWER, plain)
        # An object may hold turns by columns, and beside other texts it is no dialogue.
        parts = _text(plain) or _turns(plain, row, b"{")
    if parts is None:
        refuse(WITHOUT_TEXT, plain)
        raise _unknown(plain, names, nulls)
    return _form(parts, plain)


def _turns(plain: Mapping[str, str], row: Fields, begins: bytes) -> dict[str, str] | None:
    """The field that holds turns and begins with one of these brackets."""
    for name in DIALOGUES:
        if name in plain and (name in SURE or opening(row[plain[name]]) in begins):
            return {"turns": name}
    return None


def _plain(name: str) -> str:
    """A name as we write it: columns of spreadsheets have capitals and blanks."""
    return name.strip().lower().replace(" ", "_")


def unsure(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the fields that hold turns in one row and text in another."""
    return tuple(name for name in names if _plain(name) in DIALOGUES.keys() - SURE)


def opening(value: msgspec.Raw) -> bytes:
    """The bracket that a value or a JSON text begins with; of anything else its first byte."""
    return bytes(memoryview(value)[:OPENING_BYTES]).lstrip(b' "')[:1]


def _pair(plain: Mapping[str, str]) -> dict[str, str] | None:
    """The fields of a question and of its answer."""
    answer = next((name for name in ANSWERS if name in plain), None)
    question = next((name for name in QUESTIONS if name in plain), None)
    if answer is None or question is None:
        return None
    context = next((name for name in CONTEXTS if name in plain and name != question), None)
    found = {"question": question, "answer": answer}
    return found if context is None else {**found, "context": context}


def _text(plain: Mapping[str, str]) -> dict[str, str] | None:
    """The field of a plain text."""
    name = next((name for name in TEXTS if name in plain), None)
    if name is None:
        return None
    answer = next((each for each in (*ANSWERS, *BESIDE_TEXT) if each in plain), None)
    question = next((each for each in QUESTIONS if each in plain), None)
    other = answer or question
    if other is not None:
        asked, said = (name, other) if answer else (other, name)
        words = f"prompt={plain[asked]},answer={plain[said]}"
        raise RowError(
            f"has the fields {listed([plain[asked], plain[said]])}, and either may be meant: say "
            f"--columns {words}, or --columns text={plain[name]} for the text alone",
            Fault.NO_FORM,
        )
    series = next((each for each in SERIES if each in plain), None)
    if series is not None:
        reason = f"has {listed([plain[series]])} beside a plain text: give input and output"
        raise RowError(reason, Fault.NO_FORM)
    return {"text": name}


def _form(parts: Mapping[str, str], plain: Mapping[str, str]) -> Form:
    """The form with all that stands beside its texts."""
    beside = {
        kind: plain[name]
        for kind, names in (
            ("system", SYSTEMS),
            ("tools", TOOLS),
            ("history", HISTORIES),
            ("timeseries", SERIES),
        )
        for name in names
        if name in plain and "text" not in parts
    }
    fields = {kind: plain[name] for kind, name in parts.items()}
    used = {*fields.values(), *beside.values()}
    rest = {short: name for short, name in plain.items() if name not in used}
    media = tuple(name for short, name in rest.items() if short in MEDIA)
    return Form(
        name=_name(parts, beside),
        **fields,
        beside=beside,
        media=media,
        ratings=tuple(name for short, name in rest.items() if short in RATINGS),
        unread=tuple(name for name in rest.values() if name not in media),
        guesses=tuple(_guesses(parts, plain, rest)),
    )


def _name(parts: Mapping[str, str], beside: Mapping[str, str]) -> str:
    """What the form is called."""
    if "timeseries" in beside:
        return "ChatTS"
    if "turns" in parts:
        return DIALOGUES[parts["turns"]]
    if "text" in parts:
        return f"plain text in {parts['text']}, learned whole"
    pair = parts["question"], parts["answer"]
    if pair == ("instruction", "output"):
        return "alpaca"
    return f"{pair[0]} and {pair[1]}, a user turn and an assistant turn"


def _guesses(
    parts: Mapping[str, str], plain: Mapping[str, str], rest: Mapping[str, str]
) -> Iterable[str]:
    """What a reader of the plan should know about the names."""
    for name in parts.values():
        if plain[name] != name:
            yield f"column {named(plain[name])}: {name}"
    for kind, names in (("question", QUESTIONS), ("answer", ANSWERS)):
        others = [name for name in names if name in rest]
        if kind in parts and others:
            yield f"the {kind} is {parts[kind]}, not {listed(others)}"
    if parts.get("context") == "context":
        yield "context: further text behind the question"


def _unknown(plain: Mapping[str, str], names: Collection[str], nulls: Collection[str]) -> RowError:
    """Why a row has no form."""
    null = next(
        (name for name in (*ANSWERS, *QUESTIONS, *TEXTS, *DIALOGUES) if name in nulls), None
    )
    if null is not None:
        return RowError(f'field "{null}" is null', Fault.MISSING_FIELD)
    if not names:
        return RowError("has no field that is not null", Fault.MISSING_FIELD)
    missing = _missing(plain)
    if missing is not None:
        strange = [name for short, name in plain.items() if short not in _WITH_TEXTS]
        hint = f": the row has {listed(sorted(names))}, and --columns names the fields"
        reason = f'field "{missing}" is missing{hint if strange else ""}'
        return RowError(reason, Fault.MISSING_FIELD)
    return RowError(
        f"no known form has the fields {listed(sorted(names))}: give {KNOWN}, or name "
        "them with --columns prompt=…,answer=…",
        Fault.NO_FORM,
    )


_WITH_TEXTS = frozenset((*QUESTIONS, *ANSWERS, *CONTEXTS, *SYSTEMS, *TOOLS, *HISTORIES, *SERIES))
"""Fields whose meaning is known, so that none of them can be the one that is missing."""


def _missing(plain: Mapping[str, str]) -> str | None:
    """The field that a row with a question alone or an answer alone lacks."""
    question = next((name for name in QUESTIONS if name in plain), None)
    if question is not None:
        return PARTNERS[question]
    if any(name in plain for name in SERIES):
        return "input"
    answer = next((name for name in ANSWERS if name in plain), None)
    return next((question for question, name in PARTNERS.items() if name == answer), None)
