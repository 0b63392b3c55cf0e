"""Worker processes that count spans of a dataset at the same time.

The workers are forked, so that they share the pages of a tokenizer that is loaded once. The spans
are dealt in turn, so that the answers come back in file order. A worker whose parent has ended
fails to write its next answer and ends. Without a safe fork (only Linux has one) a single process
does all the work.
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

from tsplanner.datasets.files.records import Span
from tsplanner.datasets.lengths.tally import RowCounter, Tally
from tsplanner.errors import TsplannerError

MOST_WORKERS = 2
"""Two workers read 75 to 110 MB/s and take 25 to 90 MiB each; more workers save too little time
for their memory."""


class _Answer(msgspec.Struct):
    """A worker's answer for one span."""

    tally: Tally | None = None
    error: str | None = None
    """Text of a TsplannerError: the file has changed or cannot be read any more."""


@dataclass(slots=True)
class _Worker:
    process: int
    answers: BinaryIO


def scan_workers() -> int:
    """Number of workers for a large file: one per core, up to MOST_WORKERS."""
    if sys.platform != "linux":
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), MOST_WORKERS))


def tallies_of_workers(counter: RowCounter, spans: Sequence[Span], count: int) -> Iterator[Tally]:
    """Counts of every span, in order.

    Raises TsplannerError: a worker raised it, or a worker was killed.
    """
    _give_back_memory()
    # ProcessPoolExecutor reads as fast, but its workers wait on after their parent was killed
    # (docs/decisions/0016); these workers end at their next answer.
    workers: list[_Worker] = []
    decoder = msgspec.json.Decoder(_Answer)
    try:
        for number in range(count):
            workers.append(_forked(counter, spans[number::count], workers))
        for number in range(len(spans)):
            line = workers[number % count].answers.readline()
            # Every answer ends with a line end: a line without one means that the worker died.
            if not line.endswith(b"\n"):
                raise TsplannerError(
                    f"a process that was reading {counter.raw.name} ended too soon: it was killed, "
                    "or memory ran out; free some memory and plan again"
                )
            answer = decoder.decode(line)
            if answer.tally is None:
                raise TsplannerError(answer.error or f"{counter.raw.name} could not be read")
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
        # An older worker notices the end of its parent by a closed pipe: no copy may stay open.
        for worker in elder:
            os.close(worker.answers.fileno())
        _work(counter, spans, writing)
    os.close(writing)
    return _Worker(process, os.fdopen(reading, "rb"))


def _work(counter: RowCounter, spans: Sequence[Span], writing: int) -> NoReturn:
    """Count the spans that were dealt to this process; never returns to the caller's code."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
        gc.disable()  # rows hold no cycles, and looking through them takes time
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        with os.fdopen(writing, "wb") as answers:
            for span in spans:
                answers.write(_answered(counter, span))
                answers.flush()
        status = 0
    except BrokenPipeError:
        pass  # nobody listens any more
    finally:
        # ``sys.exit`` would unwind into the parent's own code, of which this process is a copy.
        os._exit(status)


def _answered(counter: RowCounter, span: Span) -> bytes:
    try:
        answer = _Answer(tally=counter.span(span))
    except TsplannerError as error:
        answer = _Answer(error=str(error))
    return msgspec.json.encode(answer) + b"\n"


def _end(worker: _Worker) -> None:
    """Kill a worker that may still be running, and reap it so that no zombie stays."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.process, signal.SIGKILL)
    worker.answers.close()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(worker.process, 0)


def _give_back_memory() -> None:
    """Return freed memory to the system before the fork.

    Loading a tokenizer leaves freed pages with the allocator, and every worker would hold them.
    """
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
