"""Every setting has its words in the help."""

from __future__ import annotations

import argparse

import pytest

from tests.test_docs import verb_parser
from tsplanner.cli import VERBS, build_parser


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_of_every_verb_has_a_word_of_help(verb: str) -> None:
    """A flag that shows values alone says nothing to who does not know it."""
    actions = verb_parser(build_parser(verb), verb)._actions
    silent = [
        action.option_strings
        for action in actions
        if action.help != argparse.SUPPRESS and not (action.help or "").strip()
    ]
    assert silent == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_that_takes_a_value_says_what_holds_without_it(verb: str) -> None:
    """In brackets, behind its words or in the heading of its group."""
    parser = verb_parser(build_parser(verb), verb)
    silent = [
        action.option_strings[0]
        for group in parser._action_groups
        for action in group._group_actions
        if action.option_strings and action.nargs != 0 and action.help != argparse.SUPPRESS
        if "[" not in f"{action.help}{group.title}"
    ]
    assert silent == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_default_is_not_all_that_a_flag_says(verb: str) -> None:
    """What it is comes first: ``[saves]`` says nothing."""
    actions = verb_parser(build_parser(verb), verb)._actions
    assert [each.option_strings for each in actions if (each.help or "x").startswith("[")] == []


def test_verbs_call_the_same_by_one_name() -> None:
    """The first name of each flag; further names are for people from elsewhere."""
    names: dict[str, set[str]] = {}
    for verb in VERBS:
        for action in verb_parser(build_parser(verb), verb)._actions:
            if action.option_strings and action.help != argparse.SUPPRESS:
                first = action.option_strings[0]
                for option in action.option_strings:
                    names.setdefault(option, set()).add(first)
    assert {option: firsts for option, firsts in names.items() if len(firsts) > 1} == {}
