"""Names of speakers, as datasets spell them, and the roles that they stand for."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from tsplanner.datasets.records import Fault, Role
from tsplanner.datasets.rows.fields import RowError, kind_of
from tsplanner.errors import did_you_mean, named

CALL = "call"
"""An answer of the assistant whose text is a call of a tool, as ShareGPT rows have it."""

ROLES: Mapping[str, str] = {
    "system": Role.SYSTEM,
    "developer": Role.DEVELOPER,
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "gpt": Role.ASSISTANT,
    "tool": Role.TOOL,
    "observation": Role.TOOL,
    "function": Role.TOOL,
    "function_call": CALL,
}
"""Roles of OpenAI messages and of ShareGPT rows."""

GUESSED: Mapping[str, str] = {
    "system_prompt": Role.SYSTEM,
    "系统": Role.SYSTEM,
    "用户": Role.USER,
    "助手": Role.ASSISTANT,
    "prompter": Role.USER,
    "question": Role.USER,
    "prompt": Role.USER,
    "q": Role.USER,
    "bot": Role.ASSISTANT,
    "chatbot": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "gpt4": Role.ASSISTANT,
    "gpt-4": Role.ASSISTANT,
    "gpt-3.5": Role.ASSISTANT,
    "bing": Role.ASSISTANT,
    "bard": Role.ASSISTANT,
    "claude": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "ai": Role.ASSISTANT,
    "answer": Role.ASSISTANT,
    "response": Role.ASSISTANT,
    "a": Role.ASSISTANT,
    "ipython": Role.TOOL,
    "environment": Role.TOOL,
    "tool_response": Role.TOOL,
    "tool_result": Role.TOOL,
    "function_response": Role.TOOL,
    "function_output": Role.TOOL,
    "tool_call": CALL,
    "function-call": CALL,
}
"""Other spellings; the plan says that they were taken for these roles."""


def role_of(name: object, turn: int) -> tuple[str, bool]:
    """The role that a name stands for, and whether that is a guess.

    Raises RowError: the name is unknown, or no text.
    """
    if not isinstance(name, str):
        raise RowError(f"turn {turn}: the role is {kind_of(name)}, not text", Fault.WRONG_TYPE)
    plain = name.strip().lower()
    if plain in ROLES:
        return ROLES[plain], name != plain
    if plain in GUESSED:
        return GUESSED[plain], True
    near = did_you_mean(plain, ROLES).strip()
    hint = (
        near[:1].lower() + near[1:] or f"say who it is with --columns assistant={quoted_word(name)}"
    )
    raise RowError(f"turn {turn}: unknown role {named(name)} ({hint})", Fault.ROLE)


def quoted_word(name: str) -> str:
    """A name as one word of a command line, shortened."""
    return shlex.quote(named(name)[1:-1])
