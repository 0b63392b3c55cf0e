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
