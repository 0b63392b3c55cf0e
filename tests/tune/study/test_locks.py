"""Locks that the system frees when their holder dies."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tsplanner.tune.study.locks import FileLock


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
