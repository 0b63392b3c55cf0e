"""The message files: what the report says in each language."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

import tsplanner.report
from tsplanner.report.messages.translate import FILES, Language, messages, translate
from tsplanner.report.page import Original, words
from tsplanner.report.render.templates import FOLDER

MODULES = sorted(Path(tsplanner.report.__file__).parent.rglob("*.py"))
TEMPLATES = sorted(FOLDER.glob("*.jinja"))
ENGLISH = messages(Language.EN)
KEYS = sorted(ENGLISH.templates)
IN_TEMPLATE = re.compile(r'words\("([a-z_]+)"')


def literals() -> set[str]:
    """Every string that stands in the report's modules and templates."""
    found = in_templates()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def in_templates() -> set[str]:
    """Keys of the phrases that templates are made of."""
    return {key for path in TEMPLATES for key in IN_TEMPLATE.findall(path.read_text("utf-8"))}


def phrases() -> set[str]:
    """Keys that a phrase is made of directly."""
    return in_templates() | {
        node.args[0].value
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "words"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def places(template: str) -> set[str]:
    """Names in braces."""
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def test_no_key_is_unused_and_none_is_missing() -> None:
    """The message files and the code agree on every key."""
    assert set(KEYS) - literals() == set()
    assert phrases() - set(KEYS) == set()


@pytest.mark.parametrize("language", Language)
def test_every_language_has_the_same_keys(language: Language) -> None:
    """A message that a translator forgot, or one that is left over, has a name here."""
    found = messages(language)
    assert set(found.templates) == set(KEYS)
    assert set(found.separators) == set(ENGLISH.separators)
    assert set(found.separators) <= set(KEYS)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("key", KEYS)
def test_every_language_says_the_same_things(key: str, language: Language) -> None:
    """No language lacks a text, and all have the same places to fill."""
    text = messages(language).templates[key]
    assert text.strip()
    assert places(text) == places(ENGLISH.templates[key])


def test_every_language_has_a_file_of_its_own() -> None:
    """A third language is a third file and a row that names it."""
    assert set(FILES) == set(Language)
    assert len(set(FILES.values())) == len(FILES)


def test_lists_are_joined_as_a_language_does() -> None:
    """A semicolon, or the Chinese one."""
    text = words("list", items=("1", words("not_known"), Original(text="as it is")))
    assert translate(text, Language.EN) == "1; not known; as it is"
    assert translate(text, Language.ZH) == "1；未知；as it is"


def test_a_phrase_without_a_message_is_an_error() -> None:
    """A key that no file has would otherwise stand on the page."""
    with pytest.raises(KeyError, match="no_such_message"):
        translate(words("no_such_message"), Language.EN)


def test_figures_and_names_are_the_same_in_every_language() -> None:
    """Plain text is not looked up, even where a message has that name."""
    for language in Language:
        assert translate("not_known", language) == "not_known"
