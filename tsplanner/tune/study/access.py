"""Operations on a study that processes and threads share, repeated while its storage is away."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tsplanner.console import command
from tsplanner.errors import TsplannerError
from tsplanner.tune.study.storage import StudyStorage, reason

PATIENCE_SECONDS = 300.0
"""How long a storage that is away is tried again before the search ends."""
LONGEST_PAUSE_SECONDS = 5.0
"""Longest pause between two attempts at a storage that is away."""
PAUSES = 10
"""Attempts of a short patience at least."""
Answer = TypeVar("Answer")


class StorageGone(TsplannerError):
    """The study's storage stayed away."""


class StudyAccess:
    """Optuna's study, entered by one process and one thread at a time."""

    def __init__(
        self,
        study: Any,
        storage: StudyStorage,
        folder: Path,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """``study`` is Optuna's; ``folder`` is the run's; ``patience`` is in seconds."""
        self.study, self._storage, self._folder = study, storage, folder
        self.patience = patience
        self.on_outage: Callable[[], None] = lambda: None
        """Called after each attempt that found the storage away."""
        self.stop = threading.Event()
        """Set to end any wait for a storage that is away."""
        # The lock is reentrant, because `ask` inside `locked` calls the sampler, which reads the
        # results and so enters `locked` again.
        self._threads = threading.RLock()
        self._away = False
        self._inside: int | None = None
        """Thread that is inside `locked`."""

    def in_turn(self, operation: Callable[[], Answer]) -> Answer:
        """Run an operation on the study, one thread of this process at a time."""
        with self._threads:
            try:
                return operation()
            except json.JSONDecodeError as error:
                # Another process, or a person, damaged a line after the search was opened.
                raise TsplannerError(
                    f"{self._storage.display_name} has a line that is not JSON "
                    f"({reason(error)}): it is left as it is; search in a new run folder."
                ) from error

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute of the study."""
        # Each worker writes its own key alone, so a heartbeat needs no lock of the study.
        self.in_turn(lambda: self.study.set_user_attr(key, value))

    def locked(self, operation: Callable[[], Answer]) -> Answer:
        """Run an operation under the study's lock, again and again while the storage is away.

        The operation may be repeated from its start. Raises StorageGone after the patience.
        """
        began, told = time.monotonic(), False
        while True:
            try:
                return self._once(operation)
            except Exception as error:
                if self._is_nested or not is_transient(error):
                    raise  # the outermost call begins anew, with a lock that it surely has
                if not told and not self._away:
                    told = True
                    self._report(error)
                self.on_outage()
                # Once one call has spent the patience, every later call tries only once: otherwise
                # each slot would wait for the whole patience in its turn.
                tired = time.monotonic() - began > (0 if self._away else self.patience)
                pause = min(LONGEST_PAUSE_SECONDS, self.patience / PAUSES)
                if tired or self.stop.wait(pause):
                    self._away = True
                    raise self._gone(error) from None

    @property
    def _is_nested(self) -> bool:
        return self._inside == threading.get_ident()

    def _once(self, operation: Callable[[], Answer]) -> Answer:
        with self._threads:
            if self._is_nested:
                return operation()
            with self._storage.lock:
                self._inside = threading.get_ident()
                try:
                    answer = operation()
                finally:
                    self._inside = None
            self._away = False
            return answer

    def _report(self, error: Exception) -> None:
        again = f"trying again for {self.patience:.0f} s; trials go on"
        sys.stderr.write(f"{self._storage.display_name} is away ({reason(error)}): {again}.\n")

    def _gone(self, error: Exception) -> StorageGone:
        return StorageGone(
            f"{self._storage.display_name} was away for {self.patience:.0f} s ({reason(error)}): "
            "trials that ended are kept in the run folder; go on with  "
            + command("tune", "--run-folder", self._folder, "--resume")
        )


def is_transient(error: BaseException) -> bool:
    """Whether an error comes from the storage's place and may pass."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.exc import TimeoutError as PoolTimeout

    return isinstance(error, StorageInternalError | DBAPIError | PoolTimeout | OSError)
