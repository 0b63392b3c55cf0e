"""The parent's side of tracing: starts the worker process and reads its results without torch."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from memory_models.settings import TrainingSettings
from tsplanner import install
from tsplanner.errors import TsplannerError
from tsplanner.processes import run_process
from tsplanner.tracing.records import TraceOutcome, TraceRequest

WORKER = (sys.executable, "-m", "tsplanner.tracing.worker")
POLL_SECONDS = 0.1
LAST_WORDS = 300
"""Characters of a dead worker's log that are shown."""


def refuse(settings: TrainingSettings) -> None:
    """Raise TsplannerError for settings that no trace covers."""
    if (
        settings.sharding.world_size > 1
        or settings.sharding.zero_stage
        or settings.sharding.offload_param
    ):
        raise TsplannerError(
            "A trace covers one GPU: leave out world_size, zero_stage and offload_param, "
            "or estimate them by formula (without --trace)."
        )


def trace_all(requests: Sequence[TraceRequest], on_outcome: Callable[[TraceOutcome], None]) -> None:
    """Trace all requests in one worker process, and hand on each outcome as it is finished.

    Raises:
        TsplannerError: packages are missing, or the worker died.
    """
    install.require("Tracing a model", install.TRACING)
    with tempfile.TemporaryDirectory(prefix="tsplanner-trace-") as name:
        folder = Path(name)
        asked, answered, log = folder / "requests.json", folder / "results.jsonl", folder / "log"
        asked.write_bytes(msgspec.json.encode(list(requests)))
        reader = _Reader(answered, on_outcome)
        ended = run_process(
            [*WORKER, str(asked), str(answered)],
            log_path=log,
            time_limit_seconds=None,
            poll=reader.read,
            poll_seconds=POLL_SECONDS,
        )
        # The worker may have written its last lines after the last poll.
        reader.read()
        if reader.count < len(requests):
            words = log.read_text(encoding="utf-8", errors="replace").strip()[-LAST_WORDS:]
            how = (
                ended.exit_status
                if ended.exit_status is not None
                else (f"signal {ended.stopped_by_signal}")
            )
            raise TsplannerError(f"The tracing process ended early ({how}): {words}")


class _Reader:
    """Hands on the whole lines of a growing file."""

    def __init__(self, path: Path, on_outcome: Callable[[TraceOutcome], None]) -> None:
        self.path, self.on_outcome = path, on_outcome
        self.position = self.count = 0

    def read(self) -> None:
        """Hand on the lines that were finished since the last call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.position)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.position += len(line)
                self.count += 1
                self.on_outcome(msgspec.json.decode(line, type=TraceOutcome))
