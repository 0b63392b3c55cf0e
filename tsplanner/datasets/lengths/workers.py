"""Worker processes that read spans of a dataset at the same time.

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
import struct
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from tsplanner.datasets.files.dataset import RawDataset
from tsplanner.datasets.files.records import Span
from tsplanner.datasets.tokens.reading import SMALL_BYTES
from tsplanner.errors import TsplannerError

MOST_WORKERS = 2
"""Two workers read 75 to 110 MB/s and take 25 to 90 MiB each; more workers save too little time
for their memory."""
PARALLEL_BYTES = SMALL_BYTES
"""Smallest dataset for which workers save more time than their start takes (0.2 s)."""

Work = Callable[[Span], bytes]
"""What a worker answers for a span."""
_HEAD = struct.Struct("<?Q")
"""Whether the answer is one, or a sentence about an error; and its number of bytes."""


@dataclass(slots=True)
class _Worker:
    process: int
    answers: BinaryIO


def worker_count(raw: RawDataset, wanted: int | None = None) -> int:
    """Number of workers for a dataset: one if it is small, or one per core, up to MOST_WORKERS."""
    if wanted is not None:
        return wanted
    if raw.bytes <= PARALLEL_BYTES or sys.platform != "linux":
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), MOST_WORKERS))


def answers_of_workers(
    work: Work, spans: Sequence[Span], count: int, name: str
) -> Generator[bytes, None, None]:
    """What ``work`` answers for every span, in order; ``name``: what is read.

    Raises TsplannerError: ``work`` raised it, or a worker was killed.
    """
    _give_back_memory()
    # ProcessPoolExecutor reads as fast, but its workers wait on after their parent was killed
    # (docs/decisions/0016); these workers end at their next answer.
    workers: list[_Worker] = []
    try:
        for number in range(count):
            workers.append(_forked(work, spans[number::count], workers))
        for number in range(len(spans)):
            answers = workers[number % count].answers
            head = answers.read(_HEAD.size)
            good, size = _HEAD.unpack(head) if len(head) == _HEAD.size else (True, 1)
            answer = answers.read(size)
            if len(answer) < size:
                raise TsplannerError(
                    f"a process that was reading {name} ended too soon: it was killed, or memory "
                    "ran out; free some memory and try again"
                )
            if not good:
                raise TsplannerError(answer.decode())
            yield answer
    finally:
        for worker in workers:
            _end(worker)


def _forked(work: Work, spans: Sequence[Span], elder: list[_Worker]) -> _Worker:
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        os.close(reading)
        # An older worker notices the end of its parent by a closed pipe: no copy may stay open.
        for worker in elder:
            os.close(worker.answers.fileno())
        _work(work, spans, writing)
    os.close(writing)
    return _Worker(process, os.fdopen(reading, "rb"))


def _work(work: Work, spans: Sequence[Span], writing: int) -> NoReturn:
    """Count the spans that were dealt to this process; never returns to the caller's code."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
        gc.disable()  # rows hold no cycles, and looking through them takes time
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        with os.fdopen(writing, "wb") as answers:
            for span in spans:
                answers.write(_answered(work, span))
                answers.flush()
        status = 0
    except BrokenPipeError:
        pass  # nobody listens any more
    finally:
        # ``sys.exit`` would unwind into the parent's own code, of which this process is a copy.
        os._exit(status)


def _answered(work: Work, span: Span) -> bytes:
    try:
        good, answer = True, work(span)
    except TsplannerError as error:
        good, answer = False, str(error).encode()
    return _HEAD.pack(good, len(answer)) + answer


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
