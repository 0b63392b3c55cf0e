"""The command line: parse, dispatch, and end every failure in one sentence and a status."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import json
import os
import shlex
import sys
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from tsplanner import __version__
from tsplanner.console import columns, edges, one_line
from tsplanner.errors import (
    EXIT_BUG,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    TsplannerError,
    UsageError,
    did_you_mean,
    shortened,
    without_passwords,
)
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
    "export": "a plan as files for torchrun, accelerate, DeepSpeed, Slurm or SkyPilot",
    "report": "every run on one page (HTML, Markdown), compared where they may be",
    "models": "which models are known by name, how they are sized, what was measured",
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
    """argparse that says what was probably meant."""

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
            sub.set_defaults(call=module.from_arguments)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    given = _as_flags(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    # A document that folded would be another document.
    with edges(folds=not as_json and not any(word.startswith("--cases") for word in given)):
        try:
            return _run(given)
        except SystemExit as end:  # argparse has printed the help or the version
            return int(end.code or 0)
        except TsplannerError as error:
            _fail(str(error), error.exit_status, as_json)
            return error.exit_status
        except KeyboardInterrupt as error:
            # A signal that ends a verb like Ctrl-C has a sentence and a status of its own.
            status = int(getattr(error, "exit_status", EXIT_INTERRUPTED))
            _fail(str(error) or "interrupted", status, as_json)
            return status
        except BrokenPipeError:
            sys.stderr.close()
            return EXIT_FAILURE
        except Exception:
            path = _log_bug()
            _fail(f"this is a bug of tsplanner; the log is in {path}", EXIT_BUG, as_json)
            return EXIT_BUG


def _as_flags(given: list[str]) -> list[str]:
    """``help VERB`` and ``version`` as the flags that they stand for."""
    if given[:1] == ["help"]:
        return [*given[1:2], "--help"]
    return ["--version"] if given[:1] == ["version"] else given


def _run(given: list[str]) -> int:
    """Parse the arguments and call the verb; raises UsageError for what is wrong in them."""
    _refuse_empty(given)
    verb = next((word for word in given if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        hint = did_you_mean(verb, [*VERBS, "help", "version"])
        raise UsageError(f'no verb "{verb}".{hint} Verbs: {", ".join(VERBS)}.')
    parser = build_parser(verb)
    options, unknown = parser.parse_known_args(given)
    if unknown:
        _unknown(parser, verb, unknown)
    if options.verb is None:
        parser.print_help()
        return EXIT_USAGE
    from tsplanner.models import strangers  # help and version need none of its imports

    strangers.use(_recordings)
    with granting(getattr(options, "trust_remote_code", False)):
        return int(options.call(options))


@cache
def _recordings() -> Describer:
    """Who describes models without a formula; its process ends with this one."""
    from tsplanner.tracing.recording.client import Recordings

    return Recordings(tell=lambda sentence: print(sentence, file=sys.stderr))


def _refuse_empty(given: list[str]) -> None:
    """Raise UsageError for an argument without a sign in it: a variable that is not set."""
    for before, word in zip(["", *given], given, strict=False):
        name, _, value = word.partition("=")
        is_flag = name.startswith("--") and "=" in word
        if not (value if is_flag else word).strip():
            flag = name if is_flag else before or "an argument"
            raise UsageError(f"{flag} is empty: give it a value, or leave it out.")


def _unknown(parser: Parser, verb: str | None, unknown: list[str]) -> NoReturn:
    """End with the option that was probably meant, looked up in the verb's own options."""
    target: Parser = parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and verb in action.choices:
            target = action.choices[verb]
    if not unknown[0].startswith("-"):
        hint = " Several values of one flag are joined by commas."
    else:
        hint = did_you_mean(unknown[0].partition("=")[0], target._option_string_actions)
    target.error(f"unrecognized arguments: {shlex.join(unknown)}", hint)


def sentence(message: str) -> str:
    """A message as it is printed: names and reasons of others' making may be in it."""
    return shortened(one_line(without_passwords(message)))


def _fail(message: str, status: int, as_json: bool) -> None:
    """One sentence on stderr; with --json also one document on stdout."""
    said = sentence(message)
    print(f"tsplanner: {said}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": said, "exit_status": status}))


def _log_bug() -> str:
    """Write the traceback to a file of its own; returns its path."""
    import platform
    import tempfile
    import traceback

    text = (
        f"tsplanner {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"arguments: {sys.argv[1:]}\n\n{traceback.format_exc()}"
    )
    with tempfile.NamedTemporaryFile(
        "w", prefix="tsplanner-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.write(without_passwords(text))
    return log.name


def run() -> NoReturn:
    """Entry point of the console script."""
    gc.set_threshold(2_000_000)  # importing and planning make no cycles worth looking for
    leave(main())


def leave(status: int) -> NoReturn:
    """End this process with an exit status.

    Python frees every module and object before it exits, which takes a fifth of the time of a plan
    and gives the system nothing that it would not take back anyway. So after the exit functions and
    the streams have had their turn, the process leaves at once; unless another thread still works.
    """
    threading = sys.modules.get("threading")  # a verb without threads never imports it
    if threading is not None and threading.active_count() > 1:
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a closed pipe has nobody to tell
            stream.flush()
    os._exit(status)
