"""The table of what the report says."""

from __future__ import annotations

import ast
from pathlib import Path
from string import Formatter

import pytest

import tsplanner.report
from tsplanner.report.messages import JOINTS, ORDER, WORDS, Language, say
from tsplanner.report.page import Original, words

MODULES = sorted(Path(tsplanner.report.__file__).parent.rglob("*.py"))


def literals() -> set[str]:
    """Every string that stands in the report's modules, the table apart."""
    found = set()
    for path in MODULES:
        if path.stem == "words":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def phrases() -> set[str]:
    """Keys that a phrase is made of directly."""
    return {
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
    """The table and the code agree on every key."""
    assert set(WORDS) - literals() == set()
    assert phrases() - set(WORDS) == set()


@pytest.mark.parametrize("key", WORDS)
def test_both_languages_say_the_same_things(key: str) -> None:
    """Neither language lacks a text, and both have the same places to fill."""
    english, chinese = WORDS[key]
    assert english.strip()
    assert chinese.strip()
    assert places(english) == places(chinese)


def test_every_language_has_a_place_in_the_table() -> None:
    """A third language would need a third column."""
    assert tuple(Language) == ORDER
    assert all(len(row) == len(ORDER) for row in (*WORDS.values(), *JOINTS.values()))


def test_lists_are_joined_as_a_language_does() -> None:
    """A semicolon, or the Chinese one."""
    text = words("list", items=("1", words("not_known"), Original(text="as it is")))
    assert say(text, Language.EN) == "1; not known; as it is"
    assert say(text, Language.ZH) == "1；未知；as it is"
