"""The command line: parse, dispatch, and end every failure in one sentence and a status."""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import shlex
import sys
from collections.abc import Iterator
from typing import NoReturn

from tsplanner import __version__
from tsplanner.commands.inputs.aliases import own_flag
from tsplanner.commands.inputs.verbs import (
    VERBS,
    Parser,
    build_parser,
    calling,
    verb_parser,
    verbs_with,
)
from tsplanner.console import edges, sentence
from tsplanner.errors import (
    EXIT_BUG,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    TsplannerError,
    UsageError,
    did_you_mean,
    without_passwords,
)


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
    if given[:1] == ["--completion"]:
        verb = None  # its value is no verb
    if verb is not None and verb not in VERBS:
        hint = did_you_mean(verb, [*VERBS, "help", "version"])
        raise UsageError(f'no verb "{verb}".{hint} Verbs: {", ".join(VERBS)}.')
    parser = build_parser(verb)
    options, unknown = parser.parse_known_args(given)
    if unknown:
        _unknown(parser, verb, unknown)
    if options.completion is not None:
        from tsplanner.commands.inputs.completion import print_completion

        print_completion(options.completion)
    if options.verb is None:
        parser.print_help()
        return EXIT_USAGE
    if options.quiet and options.json:
        raise UsageError("--quiet and --json exclude each other: a document is not quiet.")
    with calling(options), _silence() if options.quiet else contextlib.nullcontext():
        return int(options.call(options))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Words for a person go nowhere; errors keep their own stream."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


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
    target = parser if verb is None else verb_parser(verb)
    if not unknown[0].startswith("-"):
        hint = " Several values of one flag are joined by commas."
    else:
        flag = unknown[0].partition("=")[0]
        hint = did_you_mean(flag, target._option_string_actions)
        if not hint and verb is not None and (others := verbs_with(own_flag(flag))):
            hint = f" It is a flag of tsplanner {' and '.join(others)}."
    target.error(f"unrecognized arguments: {shlex.join(unknown)}", hint)


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
