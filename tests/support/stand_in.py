"""What takes the place of a warm server in tests: each kind only says how it answers a call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tsplanner.processes import ProcessResult
from tsplanner.training.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One worker that a server was asked to run."""

    arguments: Sequence[str]
    log_path: Path
    time_limit_seconds: float | None
    poll: Callable[[], None]
    environment: Mapping[str, str]

    @property
    def job(self) -> Job:
        """The job in the file that the first argument names."""
        return msgspec.json.decode(Path(self.arguments[0]).read_bytes(), type=Job)


class StandIn(ABC):
    """A server of the shape that ``tsplanner.probe.runner.Server`` asks for."""

    def run(
        self,
        arguments: Sequence[str],
        *,
        log_path: Path,
        time_limit_seconds: float | None,
        poll: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ProcessResult:
        """Answer one call."""
        return self.answer(
            Call(
                arguments=arguments,
                log_path=log_path,
                time_limit_seconds=time_limit_seconds,
                poll=poll or (lambda: None),
                environment=environment or {},
            )
        )

    @abstractmethod
    def answer(self, call: Call) -> ProcessResult:
        """Do the work of one worker, or pretend to."""


def over(signal: int | None = None) -> ProcessResult:
    """How a worker's process ended: with status 0, or by a signal."""
    status = 0 if signal is None else None
    return ProcessResult(exit_status=status, timed_out=False, stopped_by_signal=signal, seconds=0.0)
