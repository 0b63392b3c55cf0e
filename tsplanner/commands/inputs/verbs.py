"""The verbs of the command line, and the parser that knows their flags."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from tsplanner import __version__
from tsplanner.commands.inputs.aliases import own_words
from tsplanner.console import columns
from tsplanner.errors import UsageError
from tsplanner.trust import granting

if TYPE_CHECKING:
    from tsplanner.models.strangers import Describer

VERBS = {
    "plan": "choose the fastest settings that fit, and say why",
    "data": "rows as the model sees them, what leaves and why, and rows from your own series",
    "estimate": "bytes of one configuration, or of many from a file",
    "probe": "run the plan for a few real steps and compare",
    "tune": "search rank, learning rate and epochs, then train with the best",
    "train": "the full run of a plan",
    "merge": "a trained adapter into its base, as one model, checked by its logits",
    "export": "a plan as files for torchrun, accelerate, DeepSpeed, Slurm or SkyPilot",
    "report": "every run on one page (HTML, Markdown), compared where they may be",
    "models": "which models are known by name, how they are sized, what was measured",
    "gpus": "which cards and rented machines are known by name, with their datasheets",
    "serve": 'the page "Will it fit?" with this machine\'s cards, or runs while they go on',
    "mcp": "plans, estimates, checks and reports for assistants that speak MCP, over stdio",
    "state": "what probes taught about this machine, and how to forget it",
    "doctor": "which parts of the training environment work here, and how to fix the rest",
}

EPILOG = """examples:
  tsplanner plan --model qwen2.5-14b --gpus '2x RTX 2080 Ti 22GiB' --cutoff-len 4096
  tsplanner plan && tsplanner tune --trials 8      the embedded default, on any machine

exit status: 0 done, 1 expected failure, 2 usage, 3 bug, 4 no plan fits, 130 interrupted,
  143 ended by SIGTERM, 129 by SIGHUP
"""


class Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, whose width is asked for once and not for every option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_terminal_columns() - 2)


_terminal_columns = cache(columns)


class Parser(argparse.ArgumentParser):
    """argparse that says what was probably meant, and takes other trainers' words."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, once the words of other trainers are our own."""
        given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(own_words(given, self), namespace)

    def error(self, message: str, hint: str = "") -> NoReturn:
        """Raise UsageError with the hint and where to read on."""
        raise UsageError(f"{message}.{hint} See {self.prog} --help.")


def build_parser(verb: str | None) -> Parser:
    """The parser; only the named verb's module is imported (start-up time counts)."""
    parser = Parser(
        prog="tsplanner",
        description="Plan, probe, tune and launch fine-tuning on the machine you have.",
        epilog=EPILOG,
        formatter_class=Help,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"tsplanner {__version__}")
    parser.add_argument(
        "--completion",
        metavar="SHELL",
        help="print the script that completes flags: bash, zsh or fish [none]",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    # A parser takes half a millisecond to make: without a verb all of them are listed.
    for name in VERBS if verb is None else (verb,):
        summary = VERBS[name]
        sub = verbs.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=Help,
            allow_abbrev=False,
        )
        if name == verb:
            module = importlib.import_module(f"tsplanner.commands.{name}")
            module.add_arguments(sub)
            sub.epilog = getattr(module, "EPILOG", None)
            sub.add_argument(
                "-q", "--quiet", action="store_true", help="no words: errors, files and the status"
            )
            sub.set_defaults(call=module.from_arguments)
    return parser


def verbs_with(flag: str) -> list[str]:
    """The verbs that have a flag, for a person who gave it to another one."""
    return [verb for verb in VERBS if flag in verb_parser(verb)._option_string_actions]


def verb_parser(verb: str) -> Parser:
    """The parser of one verb's own flags."""
    parser = build_parser(verb)
    verbs = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    found: Parser = verbs.choices[verb]
    return found


@contextlib.contextmanager
def calling(options: argparse.Namespace) -> Iterator[None]:
    """What the call of a verb stands on: whose code it trusts, and who describes strange models."""
    from tsplanner.models import strangers  # help and version need none of its imports

    trusted = getattr(options, "trust_remote_code", False)
    with strangers.using(_recordings), granting(trusted):
        yield


@cache
def _recordings() -> Describer:
    """Who describes models without a formula; its process ends with this one."""
    from tsplanner.tracing.recording.client import Recordings

    return Recordings(tell=lambda sentence: print(sentence, file=sys.stderr))
