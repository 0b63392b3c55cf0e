"""Writes tsplanner/api/keywords.py and two tables of the docs from the verbs' parsers.

    python -m tests.support.keywords

The parsers are the only table of flags, and tsplanner/commands/inputs/aliases.py is that of other
trainers' words; these are what editors and readers see of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tsplanner.api.estimates import NOT_OF_ESTIMATE
from tsplanner.api.plans import NOT_OF_A_METHOD, NOT_OF_PLAN
from tsplanner.commands.inputs import aliases, values
from tsplanner.commands.inputs.keywords import REPEATED, keywords
from tsplanner.commands.inputs.verbs import verb_parser

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "tsplanner" / "api" / "keywords.py"
PAGE = ROOT / "docs" / "python-api.md"
SETTINGS_PAGE = ROOT / "docs" / "settings.md"
BEGIN, END = "<!-- written by tests/support/keywords.py -->\n", "<!-- to here -->"
CALLS = {
    "plan": NOT_OF_PLAN,
    "estimate": NOT_OF_ESTIMATE,
    "probe": NOT_OF_A_METHOD,
    "export": NOT_OF_A_METHOD,
}
"""Each verb with the flags that its call does not take."""
PATH_TYPE = "str | os.PathLike[str]"
TYPES: dict[Callable[..., object] | type | None, str] = {
    None: "str",
    int: "int",
    float: "float",
    values.positive: "int",
    values.count: "int",
    values.counts: "int | Sequence[int]",
    values.number_of_epochs: "float",
    values.not_negative: "float",
    values.cutoff: "int",
    values.seed: "int",
    values.probe_steps: "int",
    values.positive_float: "float",
    values.fraction: "float",
    values.duration_seconds: "str | float",
    values.switch: "bool",
    values.path: PATH_TYPE,
    values.path_text: PATH_TYPE,
    values.layers: "int | str",
    values.inputs: "int | str",
    values.memory_size: "str | float",
    values.targets: "str | Sequence[str]",
    values.saved_modules: "str | Sequence[str]",
    values.ranks: "str | Mapping[str, int]",
    values.alphas: "str | Mapping[str, float]",
    values.method: "str",
    values.quantization: "str",
}
"""What Python takes for a value that a parser's function reads; anything else is a text."""
BY_NAME = {"columns": "str | Mapping[str, str]"}
HEAD = '''"""Keywords of the API's calls, for editors and type checkers.

Written by tests/support/keywords.py: the verbs' parsers are what counts, which a test compares.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypedDict
'''


def type_of(name: str, action: argparse.Action) -> str:
    """The annotation of a keyword."""
    if action.nargs == 0:
        return "bool"
    found = BY_NAME.get(name) or TYPES.get(action.type, "str")  # type: ignore[arg-type]
    if isinstance(action, REPEATED):
        found = f"{found} | Sequence[{found}]"
    return f"{found} | None"


def rows(verb: str) -> list[tuple[str, str, str]]:
    """Keyword, annotation and help of a verb's flags, in the order of its help."""
    known = keywords(verb_parser(verb), CALLS[verb])
    return [
        (name, type_of(name, action), (action.help or "") % {"default": action.default})
        for name, action in known.items()
    ]


def module() -> str:
    """The source of tsplanner/api/keywords.py."""
    text = HEAD
    for verb in CALLS:
        whose = verb if verb in ("plan", "estimate") else f"Plan.{verb}"
        text += f"\n\nclass {verb.title()}Keywords(TypedDict, total=False):\n"
        text += f'    """Of ``tsplanner.{whose}``."""\n\n'
        text += "".join(f"    {name}: {kind}\n" for name, kind, _ in rows(verb))
    return text


def table() -> str:
    """The part of docs/python-api.md that lists the keywords."""
    text = ""
    for verb in CALLS:
        text += f"### Keywords of `{verb}`\n\n| keyword | type | what it sets |\n|---|---|---|\n"
        for name, kind, words in rows(verb):
            shown = kind.removesuffix(" | None").replace("|", "\\|")
            text += f"| `{name}` | `{shown}` | {words} |\n"
        text += "\n"
    return text


def words_table() -> str:
    """The part of docs/settings.md that lists other trainers' words, and those that are refused."""
    text = "| word | of | here |\n|---|---|---|\n"
    for name, by, means in aliases.table():
        text += f"| `{name}` | {by} | {means} |\n"
    text += "\n| flag | values of others |\n|---|---|\n"
    for flag, means in aliases.values_table():
        text += f"| `{flag}` | {means} |\n"
    text += "\n| word | why there is no flag |\n|---|---|\n"
    for name, why in sorted(aliases.REFUSED.items()):
        text += f"| `{name.replace('-', '_')}` | {why} |\n"
    return text + "\n"


def page() -> str:
    """docs/python-api.md with its table anew."""
    return renewed(PAGE, table())


def settings_page() -> str:
    """docs/settings.md with its tables anew."""
    return renewed(SETTINGS_PAGE, words_table())


def renewed(path: Path, tables: str) -> str:
    """A page with other tables between its marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + "\n" + tables + rest[rest.index(END) :]


if __name__ == "__main__":
    MODULE.write_text(module(), encoding="utf-8")
    if PAGE.exists():
        PAGE.write_text(page(), encoding="utf-8")
        SETTINGS_PAGE.write_text(settings_page(), encoding="utf-8")
