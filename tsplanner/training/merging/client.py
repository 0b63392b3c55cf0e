"""The parent's side of a merge: starts the worker process, and reads what it tells."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from tsplanner.errors import TsplannerError
from tsplanner.processes import run_process
from tsplanner.training.merging.records import Merged, MergeRequest, MergeTold
from tsplanner.trust import FLAG, is_granted

WORKER = (sys.executable, "-m", "tsplanner.training.merging.worker")
POLL_SECONDS = 0.1
LAST_WORDS = 300
"""Characters of a dead worker's log that are shown."""


def run_merge(request: MergeRequest, on_stage: Callable[[str], None]) -> Merged:
    """Merge in a process of its own; ``on_stage`` is called with what has been done.

    Raises TsplannerError: nothing was written that counts, or the worker died.
    """
    with tempfile.TemporaryDirectory(prefix="tsplanner-merge-") as name:
        folder = Path(name)
        asked, lines, log = folder / "request.json", folder / "told.jsonl", folder / "log"
        asked.write_bytes(msgspec.json.encode(request))
        seen = 0

        def read() -> None:
            nonlocal seen
            found = told(lines)
            for each in found[seen:]:
                if each.stage:
                    on_stage(each.stage)
            seen = len(found)

        ended = run_process(
            [*WORKER, str(asked), str(lines), *([FLAG] if is_granted() else [])],
            log_path=log,
            time_limit_seconds=None,
            poll=read,
            poll_seconds=POLL_SECONDS,
        )
        read()
        last = next(iter(reversed(told(lines))), MergeTold())
        if last.merged is not None:
            return last.merged
        if last.error:
            raise TsplannerError(last.error)
        signal = f"signal {ended.stopped_by_signal}"
        how = signal if ended.exit_status is None else f"status {ended.exit_status}"
        words = log.read_text(encoding="utf-8", errors="replace").strip()[-LAST_WORDS:]
        raise TsplannerError(
            f"The merging process ended early ({how}), which is most often for lack of memory: "
            f"{words}"
        )


def told(path: Path) -> list[MergeTold]:
    """The whole lines of a growing file."""
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [msgspec.json.decode(line, type=MergeTold) for line in whole.splitlines()]
