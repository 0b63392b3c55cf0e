"""Locks that the system frees when their holder dies."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from pathlib import Path
from typing import Any

LOCK_SECONDS = 60
"""Longest wait for a lock, which is held for fractions of a second."""
POLL_SECONDS = 0.005
"""Time between two attempts at a lock."""


class FileLock:
    """A lock on a file: one thread of one process holds it, and may take it again meanwhile."""

    def __init__(self, path: Path, seconds: float = LOCK_SECONDS) -> None:
        import filelock  # installed with [train], and the help of a verb needs none of that

        self._path, self._seconds = path, seconds
        # The lock is free as soon as this object is collected, so the storage has to keep it.
        self._lock = filelock.FileLock(path)

    def __enter__(self) -> FileLock:
        """Wait for the lock; raises TimeoutError, or OSError for a folder that is not writable."""
        try:
            self._lock.acquire(timeout=self._seconds, poll_interval=POLL_SECONDS)
        except TimeoutError:
            raise TimeoutError(
                f"another process has held {self._path} for {self._seconds:.0f} s"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        """Free the lock."""
        self._lock.release()

    def acquire(self) -> bool:
        """Take the lock, as Optuna's journal asks for it."""
        self.__enter__()
        return True

    def release(self) -> None:
        """Free the lock, as Optuna's journal asks for it."""
        self.__exit__()


class DatabaseLock:
    """PostgreSQL's advisory lock of one study, on a connection of its own."""

    def __init__(self, engine: Any, name: str) -> None:
        self._engine = engine
        # PostgreSQL names an advisory lock by a signed number of 64 bits.
        self._key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        self._threads = threading.RLock()
        self._depth = 0
        self._connection: Any = None

    def __enter__(self) -> DatabaseLock:
        """Wait for the lock; raises SQLAlchemy's error when the database is away."""
        from sqlalchemy import text

        self._threads.acquire()
        try:
            if self._depth == 0:
                # The lock belongs to the session, so it needs no transaction
                # that stays open meanwhile.
                connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._connection = connection
                # PostgreSQL's SET takes no bound parameters, so the seconds stand in the text.
                connection.execute(text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": self._key})
            self._depth += 1
        except BaseException:
            self._drop()
            self._threads.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Free the lock."""
        from sqlalchemy import text

        self._depth -= 1
        try:
            if self._depth == 0:
                with contextlib.suppress(Exception):  # without its connection the lock is free too
                    self._connection.execute(
                        text("SELECT pg_advisory_unlock(:key)"), {"key": self._key}
                    )
                    self._connection.close()
                    self._connection = None
                self._drop()
        finally:
            self._threads.release()

    def _drop(self) -> None:
        """Close a connection whose state is not known, and the lock with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
                connection.close()
