"""What counts as wrong: a traceback, two seconds, a figure that cannot be, a message nobody reads."""

from __future__ import annotations

import contextlib
import io
import math
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from memory_models.result import Interval, MemoryEstimate
from tsplanner.cli import sentence
from tsplanner.errors import TsplannerError

SECONDS = 2.0
MOST_CHARACTERS = 700
MOST_BYTES = 2**50
STATUSES = frozenset({0, 1, 2, 4, 130})


class TooLong(BaseException):
    """The alarm: no ``except Exception`` of the product may take it."""


class Absurd(Exception):
    """An answer that cannot be true."""


@dataclass(frozen=True)
class Fault:
    """One input that was answered wrongly."""

    kind: str
    """``traceback``, ``slow``, ``absurd`` or ``message``."""
    place: str
    """Where: file and function of our own that came last, or the words."""
    content: bytes


def said(error: TsplannerError) -> str:
    """The sentence of an error, as the command line prints it."""
    return sentence(str(error))


def fault_of_message(text: str) -> str | None:
    """What is wrong with a sentence for a person."""
    if len(text) > MOST_CHARACTERS:
        return f"{len(text)} characters: {text[:60]!r}"
    # Halves of characters are printed as question marks.
    text = re.sub("[\ud800-\udfff]", "?", text)
    control = [sign for sign in text.rstrip("\n") if not sign.isprintable() and sign not in "\n"]
    return f"control character {control[0]!r}: {text[:60]!r}" if control else None


@dataclass(frozen=True)
class Verdict:
    """What became of one input."""

    fault: Fault | None
    refused: bool
    """It was refused in a sentence."""
    seconds: float


def judged(run: Callable[[bytes], None], content: bytes) -> Verdict:
    """Run one reader on one input."""
    # Seconds of this process, so that other work on the machine makes nothing slow; what waits
    # without working is caught by the clock on the wall.
    signal.signal(signal.SIGPROF, _alarm)
    signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    began, refused = time.process_time(), True
    try:
        with muted() as (_, err):
            run(content)
        found, refused = None, False
    except TooLong as error:
        found = Fault("slow", _place(error), content)
    except Absurd as error:
        found = Fault("absurd", str(error)[:120], content)
    except TsplannerError as error:
        wrong = fault_of_message(said(error))
        found = None if wrong is None else Fault("message", wrong, content)
    except SystemExit as error:
        wrong = fault_of_message(err.getvalue())
        found = None if wrong is None else Fault("message", wrong, content)
        if error.code not in STATUSES:
            found = Fault("traceback", f"exit {error.code}", content)
    except Exception as error:
        found = Fault(
            "traceback", f"{_place(error)} {type(error).__name__}: {error!s:.60}", content
        )
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return Verdict(found, refused, time.process_time() - began)


def _alarm(*_: object) -> None:
    raise TooLong


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if "/tsplanner/" in frame.filename or "/memory_models/" in frame.filename
    ]
    last = (own or list(frames))[-1]
    for folder in ("tsplanner", "memory_models"):
        if f"/{folder}/" in last.filename:
            return (
                f"{folder}/{last.filename.rpartition(f'/{folder}/')[2]}:{last.lineno} {last.name}"
            )
    return f"{last.filename}:{last.lineno}"


@contextlib.contextmanager
def muted() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Both streams into strings."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def check_interval(name: str, found: Interval, *, least: int = 1) -> None:
    """Refuse a figure that is not positive, over a PiB, or over its own bound."""
    if not least <= found.expected <= found.upper < MOST_BYTES:
        raise Absurd(f"{name} {found.expected:.3g} to {found.upper:.3g} bytes")


def check_memory(memory: MemoryEstimate) -> None:
    """Refuse an estimate that cannot be."""
    check_interval("process", memory.process_bytes)
    check_interval("reserved", memory.peak_reserved_bytes, least=0)
    check_interval("host", memory.host_bytes)


def check_seconds(name: str, seconds: float) -> None:
    """Refuse a time that is no time; a hundred million years are none either."""
    if not (math.isfinite(seconds) and 0 <= seconds < 3e15):
        raise Absurd(f"{name} {seconds!r} s")


def check_json(text: str) -> Any:
    """The value of a JSON document; refuse NaN and Infinity."""
    import json

    def refuse(word: str) -> None:
        raise Absurd(f"{word} in JSON")

    return json.loads(text, parse_constant=refuse)


def trace_of(run: Callable[[bytes], None], content: bytes) -> str:
    """The whole traceback of a run, for a person who mends it."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with muted():
            run(content)
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "nothing was raised"
