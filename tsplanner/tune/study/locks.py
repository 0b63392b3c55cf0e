"""Locks of which the system frees those that a dead process held."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

LOCK_SECONDS = 60
"""Longest wait for a lock, which is held for fractions of a second."""


class FileLock:
    """One process at a time; its threads come one by one as well. The system frees a dead one's."""

    def __init__(self, path: Path, seconds: float = LOCK_SECONDS) -> None:
        self._path, self._seconds = path, seconds
        self._threads = threading.RLock()
        self._depth = 0
        self._handle = -1

    def __enter__(self) -> FileLock:
        """Wait for it; raises TimeoutError, or OSError for a folder that cannot be written."""
        self._threads.acquire()
        try:
            if self._depth == 0:
                self._handle = self._locked()
            self._depth += 1
        except BaseException:
            self._threads.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Free it."""
        self._depth -= 1
        if self._depth == 0:
            os.close(self._handle)
        self._threads.release()

    def acquire(self) -> bool:
        """As Optuna's journal asks for it."""
        self.__enter__()
        return True

    def release(self) -> None:
        """As Optuna's journal gives it back."""
        self.__exit__()

    def _locked(self) -> int:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + self._seconds
        while not _try_lock(handle):
            if time.monotonic() > deadline:
                os.close(handle)
                raise TimeoutError(
                    f"another process has held {self._path} for {self._seconds:.0f} s"
                )
            time.sleep(0.005)
        return handle


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


class DatabaseLock:
    """PostgreSQL's advisory lock of one study, on a connection of its own."""

    def __init__(self, engine: Any, name: str) -> None:
        self._engine = engine
        self._key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        self._threads = threading.RLock()
        self._depth = 0
        self._connection: Any = None

    def __enter__(self) -> DatabaseLock:
        """Wait for it; raises SQLAlchemy's error when the database is away."""
        from sqlalchemy import text

        self._threads.acquire()
        try:
            if self._depth == 0:
                connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._connection = connection
                connection.execute(text(f"SET lock_timeout = '{LOCK_SECONDS}s'"))
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": self._key})
            self._depth += 1
        except BaseException:
            self._drop()
            self._threads.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Free it."""
        from sqlalchemy import text

        self._depth -= 1
        try:
            if self._depth == 0:
                with contextlib.suppress(Exception):  # with its connection the lock is gone too
                    self._connection.execute(
                        text("SELECT pg_advisory_unlock(:key)"), {"key": self._key}
                    )
                    self._connection.close()
                    self._connection = None
                self._drop()
        finally:
            self._threads.release()

    def _drop(self) -> None:
        """Close a connection whose state is not known, and with it the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
                connection.close()
