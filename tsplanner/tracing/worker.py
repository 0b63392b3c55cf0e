"""The tracing process: ``python -m tsplanner.tracing.worker REQUESTS.json RESULTS.jsonl``.

It reads a list of requests and writes one line per finished request: a trace, or the reason why
there is none. The parent never imports torch.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import msgspec

from tsplanner.errors import TsplannerError
from tsplanner.tracing.records import TraceOutcome, TraceRequest
from tsplanner.training.worker import environment_variables

THREADS = 1
"""Threads of torch: a trace computes no values, so more threads would only wait."""


def main(arguments: list[str]) -> int:
    """Trace every request of a file; the exit status is 0 even if some traces fail."""
    requests = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=list[TraceRequest])
    environment_variables.set_defaults()
    import torch

    torch.set_num_threads(THREADS)
    with Path(arguments[1]).open("wb") as results:
        for request in requests:
            results.write(msgspec.json.encode(outcome(request)) + b"\n")
            results.flush()
    return 0


def outcome(request: TraceRequest) -> TraceOutcome:
    """The trace of one request, or one sentence that says why it failed."""
    from tsplanner.tracing.trace import trace_memory

    try:
        return TraceOutcome(trace=trace_memory(request))
    except TsplannerError as error:
        return TraceOutcome(error=str(error))
    except Exception as error:
        traceback.print_exc()
        text = (str(error).strip() or "no message").splitlines()[0]
        return TraceOutcome(error=f"The trace failed ({type(error).__name__}: {text[:300]}).")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
