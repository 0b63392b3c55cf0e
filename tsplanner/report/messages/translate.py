"""Texts of the page in a language, from the message files in this folder."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from functools import cache
from pathlib import Path

from memory_models.frozen import frozen
from tsplanner.report.page import Both, Original, Text
from tsplanner.wording import filled


class Language(StrEnum):
    """Languages of the report, by their codes."""

    EN = "en"
    ZH = "zh-CN"


FILES = {Language.EN: "en.toml", Language.ZH: "zh.toml"}


@frozen
class Messages:
    """Everything that the report can say in one language."""

    templates: dict[str, str]
    """Sentences by key, with names in braces where values are filled in."""
    separators: dict[str, str]
    """What stands between the items of a list, by the key of the sentence that holds the list."""


@cache
def messages(language: Language) -> Messages:
    """The messages of a language, read once."""
    content = tomllib.loads((Path(__file__).parent / FILES[language]).read_text(encoding="utf-8"))
    return Messages(templates=content["messages"], separators=content["separators"])


def translate(text: Text, language: Language) -> str:
    """A text in a language. Raises KeyError for a phrase that the message file lacks."""
    if isinstance(text, str):
        return text
    if isinstance(text, Original):
        return text.text
    if isinstance(text, Both):
        return text.english if language is Language.EN else text.chinese
    known = messages(language)
    values = {}
    for name, value in text.values.items():
        if isinstance(value, tuple):
            items = (translate(item, language) for item in value)
            values[name] = known.separators[text.key].join(items)
        else:
            values[name] = translate(value, language)
    return filled(known.templates[text.key], values)
