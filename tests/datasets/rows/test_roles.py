"""Names of speakers."""

from __future__ import annotations

import pytest

from tsplanner.datasets.records import Fault, Role
from tsplanner.datasets.rows.fields import RowError
from tsplanner.datasets.rows.roles import CALL, GUESSED, ROLES, quoted_word, role_of


@pytest.mark.parametrize(
    ("name", "role", "guess"),
    [
        ("user", Role.USER, False),
        ("human", Role.USER, False),
        ("gpt", Role.ASSISTANT, False),
        ("developer", Role.DEVELOPER, False),
        ("observation", Role.TOOL, False),
        ("function_call", CALL, False),
        ("Human", Role.USER, True),
        (" user ", Role.USER, True),
        ("chatgpt", Role.ASSISTANT, True),
        ("model", Role.ASSISTANT, True),
        ("prompter", Role.USER, True),
    ],
)
def test_spellings_of_the_two_usual_forms_are_no_guess(name: str, role: Role, guess: bool) -> None:
    """Any other spelling is one, also another case."""
    assert role_of(name, 1) == (role, guess)


def test_no_spelling_is_both_known_and_guessed() -> None:
    """Every name has one meaning."""
    assert not ROLES.keys() & GUESSED.keys()
    assert all(name == name.lower() for name in (*ROLES, *GUESSED))


@pytest.mark.parametrize(
    ("name", "reason", "fault"),
    [
        ("assitant", 'turn 3: unknown role "assitant" (did you mean "assistant"?)', Fault.ROLE),
        (
            "Dr. Who",
            "turn 3: unknown role \"Dr. Who\" (say who it is with --columns assistant='Dr. Who')",
            Fault.ROLE,
        ),
        (7, "turn 3: the role is a number, not text", Fault.WRONG_TYPE),
    ],
)
def test_an_unknown_role_gets_the_nearest_one_or_the_flag(
    name: object, reason: str, fault: Fault
) -> None:
    """The turn is counted from 1."""
    with pytest.raises(RowError) as caught:
        role_of(name, 3)
    assert (str(caught.value), caught.value.fault) == (reason, fault)
    assert quoted_word("a b") == "'a b'"
