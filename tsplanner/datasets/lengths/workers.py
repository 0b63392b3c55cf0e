"""Processes that count spans of a dataset side by side.

They are forked, so that a tokenizer is loaded once and its pages are shared, and dealt the spans in
turn, so that their answers come back in file order. A worker whose parent is gone ends at its next
answer, which nobody takes. Where there is no safe fork one process does it all.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

import msgspec

from tsplanner.datasets.lengths.tally import RowCounter, Tally
from tsplanner.errors import TsplannerError

MOST_WORKERS = 2
"""Two read 75 to 110 MB/s, at 25 to 90 MiB each; more cost more memory than they save time."""

Span = tuple[int, int]


class _Answer(msgspec.Struct):
    """What a worker says to one span."""

    tally: Tally | None = None
    error: str | None = None
    """Of a TsplannerError: the file has changed or cannot be read any more."""


@dataclass(slots=True)
class _Worker:
    process: int
    answers: BinaryIO


def scan_workers() -> int:
    """Processes that a large file is worth: one a core, up to MOST_WORKERS."""
    if sys.platform != "linux":
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), MOST_WORKERS))


def tallies_of_workers(counter: RowCounter, spans: Sequence[Span], count: int) -> Iterator[Tally]:
    """Counts of every span, in order.

    Raises TsplannerError: what a worker raised, or that one was killed.
    """
    _give_back_memory()
    workers: list[_Worker] = []
    decoder = msgspec.json.Decoder(_Answer)
    try:
        for number in range(count):
            workers.append(_forked(counter, spans[number::count], workers))
        for number in range(len(spans)):
            line = workers[number % count].answers.readline()
            if not line.endswith(b"\n"):
                raise TsplannerError(
                    f"a process that was reading {counter.job.path} ended too soon: it was killed, "
                    "or memory ran out; free some memory and plan again"
                )
            answer = decoder.decode(line)
            if answer.tally is None:
                raise TsplannerError(answer.error or f"{counter.job.path} could not be read")
            yield answer.tally
    finally:
        for worker in workers:
            _end(worker)


def _forked(counter: RowCounter, spans: Sequence[Span], elder: list[_Worker]) -> _Worker:
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        os.close(reading)
        for worker in elder:  # else an elder would outlive the parent: its pipe would stay open
            os.close(worker.answers.fileno())
        _work(counter, spans, writing)
    os.close(writing)
    return _Worker(process, os.fdopen(reading, "rb"))


def _work(counter: RowCounter, spans: Sequence[Span], writing: int) -> NoReturn:
    """Count the spans that were dealt to this process; never returns to the caller's code."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
        gc.disable()  # rows hold no cycles, and looking through them takes time
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        with os.fdopen(writing, "wb") as answers:
            for start, end in spans:
                answers.write(_answered(counter, start, end))
                answers.flush()
        status = 0
    except BrokenPipeError:
        pass  # nobody listens any more
    finally:
        os._exit(status)


def _answered(counter: RowCounter, start: int, end: int) -> bytes:
    try:
        answer = _Answer(tally=counter.span(start, end))
    except TsplannerError as error:
        answer = _Answer(error=str(error))
    return msgspec.json.encode(answer) + b"\n"


def _end(worker: _Worker) -> None:
    """End a worker that may still be at work, and leave no zombie."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.process, signal.SIGKILL)
    worker.answers.close()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(worker.process, 0)


def _give_back_memory() -> None:
    """Loading a tokenizer leaves freed memory with the allocator, for every worker to hold."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
