"""Keywords of Python as the flags of a verb: the parser's table of flags is the only one.

``lora_rank=8`` stands for ``--lora-rank 8``, so a call and a command line have the same names,
the same checks and the same sentences for what is wrong.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping

from tsplanner.commands.inputs.aliases import is_taken, key
from tsplanner.commands.inputs.options import Added
from tsplanner.commands.inputs.verbs import verb_parser
from tsplanner.errors import UsageError, did_you_mean, named, quoted

NEVER = frozenset({"help", "json", "quiet"})
"""Flags that say how a verb prints; a call prints nothing."""
NOT_OF_A_SERVER = frozenset(
    {
        "deadline",
        "experiment",
        "output",
        "probe",
        "probe_budget",
        "rent",
        "saves",
        "trust_remote_code",
    }
)
"""Flags of ``plan`` that write, run a model's code, are for the terminal or give another answer."""
REPEATED = (argparse._ExtendAction, Added)
"""Flags that take one value each time, where others take a list joined by commas."""


def options(verb: str, line: list[str]) -> argparse.Namespace:
    """The parsed flags of a verb, from words as `words` makes them. Raises UsageError."""
    return verb_parser(verb).parse_args(line)


def words(
    verb: str, given: Mapping[str, object], without: frozenset[str] = frozenset()
) -> list[str]:
    """Values by keyword as the words of a command line, after the verb.

    A keyword is a flag's name with underscores. None leaves a flag out. True and False stand for
    on and off, a list for values joined by commas, a mapping for pairs such as ``q_proj=16``.

    Raises:
        UsageError: the verb has no such flag, it is one of ``without``, or it has no value.
    """
    parser = verb_parser(verb)
    known = keywords(parser, without)
    line: list[str] = []
    for name, value in given.items():
        alias = name not in known and _is_alias(name, parser)
        if name not in known and not alias:
            raise UsageError(f"{verb} takes no {named(name)}.{did_you_mean(name, known)}")
        if value is not None:
            line += _alias_words(name, value) if alias else _words(name, known[name], value)
    return line


def _is_alias(name: str, parser: argparse.ArgumentParser) -> bool:
    """Whether another trainer's word is meant, which `aliases` takes apart."""
    action = parser._option_string_actions.get(f"--{key(name)}")
    hidden = action is not None and action.help == argparse.SUPPRESS
    return is_taken(key(name), parser) or hidden


def _alias_words(name: str, value: object) -> Iterator[str]:
    if isinstance(value, bool):
        value = str(value).lower()
    values = list(value) if isinstance(value, list | tuple) else [value]
    yield from (f"--{name}", ",".join(map(_text, values)))


def keywords(
    parser: argparse.ArgumentParser, without: frozenset[str] = frozenset()
) -> dict[str, argparse.Action]:
    """The flags of a parser by keyword, every alias a keyword of its own."""
    found = {
        option.removeprefix("--").replace("-", "_"): action
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and action.help != argparse.SUPPRESS
    }
    return {name: action for name, action in found.items() if name not in NEVER | without}


def _words(name: str, action: argparse.Action, value: object) -> Iterator[str]:
    """A flag and its value as they would be typed. Raises UsageError for an empty value."""
    flag = f"--{name.replace('_', '-')}"
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{name} must be True or False, not {quoted(value)}.")
        yield from [flag] if value else []
        return
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not isinstance(action, REPEATED) and len(values) > 1:
        values = [",".join(map(_text, values))]
    texts = [_text(each) for each in values]
    if not all(text.strip() for text in texts) or not texts:
        raise UsageError(f"{name} is empty: give it a value, or leave it out.")
    for text in texts:
        # A value that begins with a dash would be read as the next flag.
        yield from [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _text(value: object) -> str:
    """A value as it would be typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={_text(each)}" for key, each in value.items())
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
