"""The parsers of the verbs."""

from __future__ import annotations

import argparse

import pytest

from tsplanner.commands.inputs.verbs import VERBS, calling, verb_parser
from tsplanner.errors import UsageError
from tsplanner.models import strangers
from tsplanner.trust import is_granted


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_parser_that_ends_in_a_sentence(verb: str) -> None:
    """Where argparse would end the process."""
    parser = verb_parser(verb)
    assert parser.prog == f"tsplanner {verb}"
    with pytest.raises(UsageError, match=f"See tsplanner {verb} --help"):
        parser.error("wrong")


def test_code_of_a_model_is_trusted_for_one_call_alone() -> None:
    """A later call must ask again."""
    with calling(argparse.Namespace(trust_remote_code=True)):
        assert is_granted()
    with calling(argparse.Namespace()):
        assert not is_granted()
    assert not is_granted()


def test_strange_models_are_described_for_one_call_alone() -> None:
    """A program that only reads configs must not start the process that builds models."""
    before = list(strangers._DESCRIBERS)
    with calling(argparse.Namespace()):
        assert len(strangers._DESCRIBERS) == 1
    assert before == strangers._DESCRIBERS
