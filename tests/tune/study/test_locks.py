"""Locks that the system frees when their holder dies."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tsplanner.tune.study.locks import DatabaseLock, FileLock


def test_lock_is_free_as_soon_as_its_holder_is_killed(tmp_path: Path) -> None:
    """No grace period has to pass."""
    code = (
        "import sys; from pathlib import Path; from tsplanner.tune.study.locks import FileLock\n"
        "lock = FileLock(Path(sys.argv[1])); lock.__enter__()\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(TimeoutError, match="another process has held"), FileLock(path, 0.1):
        pass
    holder.kill()
    holder.wait()
    with FileLock(path, 1.0) as lock, lock:  # and the same thread may take it again
        pass


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    """A thread may take the lock again that it holds; another one waits until it is free."""
    lock, inside, most = FileLock(tmp_path / "lock"), [0], [0]

    def work() -> None:
        for _ in range(20):
            with lock, lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert most == [1]


class Connection:
    """Writes down what it is asked to do; an engine that has only this connection."""

    def __init__(self, *, fails: bool = False) -> None:
        self.said: list[str] = []
        self.fails = fails

    def connect(self) -> Connection:
        """Give the connection, as an engine does."""
        self.said.append("connect")
        return self

    def execution_options(self, **_: object) -> Connection:
        """Keep the connection."""
        return self

    def execute(self, statement: object, parameters: dict[str, int] | None = None) -> None:
        """Write down the statement's first two words; fail where the database is away."""
        if self.fails:
            raise OSError("the database is away")
        self.said.append(" ".join(str(statement).split("(")[0].split()[:2]))

    def invalidate(self) -> None:
        """Write down that the connection is not used again."""
        self.said.append("invalidate")

    def close(self) -> None:
        """Write down the end."""
        self.said.append("close")


def test_a_database_lock_is_taken_once_by_a_thread_that_nests_it() -> None:
    """The database hears of one lock and one unlock, on one connection."""
    connection = Connection()
    with DatabaseLock(connection, "study") as lock, lock:
        assert connection.said == ["connect", "SET lock_timeout", "SELECT pg_advisory_lock"]
    assert connection.said[3:] == ["SELECT pg_advisory_unlock", "close"]


def test_a_database_that_is_away_leaves_no_lock_behind() -> None:
    """The error reaches the caller, the connection is given up, and another thread may try."""
    connection = Connection(fails=True)
    lock = DatabaseLock(connection, "study")
    with pytest.raises(OSError, match="away"), lock:
        pass
    assert connection.said == ["connect", "invalidate", "close"]
    connection.fails = False
    held: list[bool] = []

    def take() -> None:
        with lock:
            held.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(timeout=10)
    assert held == [True]


def test_every_study_of_a_database_has_a_lock_of_its_own() -> None:
    """The key follows from the name alone, so that all workers agree on it."""
    keys = [DatabaseLock(None, name)._key for name in ("a", "a", "b")]
    assert keys[0] == keys[1] != keys[2]
    assert all(-(2**63) <= key < 2**63 for key in keys)
