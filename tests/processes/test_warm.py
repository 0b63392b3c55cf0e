"""The warm server: forks that succeed, fail, hang and lose their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.support.children import gone, wait_for
from tsplanner.processes import WarmServer

TOY = """
import os, signal, sys, time

START = os.getpid()

def main(arguments):
    print("in", arguments, os.environ.get("RANKS"), os.getpid() != START, flush=True)
    verb = arguments[0]
    if verb == "sleep":
        time.sleep(60)
    if verb == "raise":
        raise ValueError("bad row")
    if verb == "leave":
        sys.exit("no such model")
    if verb == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "nap":
        time.sleep(0.5)
        return os.getpgid(0) == os.getpid()
    return int(verb)
"""


@pytest.fixture
def toy(tmp_path: Path) -> tuple[str, ...]:
    """Command of a server whose worker is a toy module."""
    (tmp_path / "toy_worker.py").write_text(TOY)
    start = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from tsplanner.training.worker.server import main
        main(["--imports", "toy_worker", "--entry", "toy_worker:main"])
    """)
    return (sys.executable, "-c", start)


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks on Linux alone")


@linux
def test_warm_server_runs_each_request_in_a_fork(tmp_path: Path, toy: tuple[str, ...]) -> None:
    """A worker's status, output and environment are its own; the import was the server's."""
    with WarmServer(toy) as server:
        results = [
            server.run(
                [verb],
                log_path=tmp_path / f"{verb}.log",
                time_limit_seconds=20,
                environment={"RANKS": "2"},
            )
            for verb in ("0", "3", "raise", "leave", "die")
        ]
    assert [result.exit_status for result in results] == [0, 3, 1, 1, None]
    assert results[4].stopped_by_signal == signal.SIGKILL
    assert (tmp_path / "0.log").read_text() == "in ['0'] 2 True\n"
    assert "ValueError: bad row" in (tmp_path / "raise.log").read_text()
    assert "no such model" in (tmp_path / "leave.log").read_text()


@linux
def test_warm_server_serves_two_threads_at_once(tmp_path: Path, toy: tuple[str, ...]) -> None:
    """Packed trials overlap, each in a process group of its own."""
    with WarmServer(toy) as server, ThreadPoolExecutor(2) as pool:
        server.run(["0"], log_path=tmp_path / "first.log", time_limit_seconds=20)
        start = time.monotonic()
        futures = [
            pool.submit(server.run, ["nap"], log_path=tmp_path / f"{n}.log", time_limit_seconds=20)
            for n in range(2)
        ]
        assert [future.result().exit_status for future in futures] == [1, 1]
        assert time.monotonic() - start < 0.95


@linux
def test_warm_server_ends_a_fork_at_its_time_limit(tmp_path: Path, toy: tuple[str, ...]) -> None:
    """A hanging worker is ended, and the server goes on serving."""
    with WarmServer(toy) as server:
        result = server.run(["sleep"], log_path=tmp_path / "a.log", time_limit_seconds=0.5)
        assert result.timed_out
        assert result.stopped_by_signal == signal.SIGTERM
        assert server.run(["0"], log_path=tmp_path / "b.log", time_limit_seconds=20).ok


@linux
def test_warm_server_ends_every_fork_when_it_closes(tmp_path: Path, toy: tuple[str, ...]) -> None:
    """Leaving the context ends workers that other threads still wait for."""
    with ThreadPoolExecutor(1) as pool:
        with WarmServer(toy) as server:
            log = tmp_path / "a.log"
            future = pool.submit(server.run, ["sleep"], log_path=log, time_limit_seconds=60)
            assert wait_for(lambda: log.is_file() and "sleep" in log.read_text())
        assert future.result(timeout=20).exit_status is None
        with pytest.raises(RuntimeError, match="closed"):
            server.run(["0"], log_path=log, time_limit_seconds=20)


@linux
def test_a_fork_ends_with_the_parent_of_its_server(tmp_path: Path, toy: tuple[str, ...]) -> None:
    """A KILL of the program reaches workers two processes away."""
    code = f"""
import pathlib, sys, threading, time
from tsplanner.processes import WarmServer
server = WarmServer({toy!r}).__enter__()
server.run(["sleep"], log_path=pathlib.Path({str(tmp_path / "a.log")!r}), time_limit_seconds=60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        log = tmp_path / "a.log"
        assert wait_for(lambda: log.is_file() and "sleep" in log.read_text())
        family = psutil.Process(parent.pid).children(recursive=True)
        assert len(family) == 3  # guard, server, fork
        os.kill(parent.pid, signal.SIGKILL)
        assert wait_for(lambda: all(gone(each.pid) for each in family))
    finally:
        parent.kill()
        parent.wait()


@linux
def test_a_request_given_up_before_its_fork_leaves_no_fork(
    tmp_path: Path, toy: tuple[str, ...]
) -> None:
    """Ctrl-C while the server still imports does not start a trial for nobody."""

    def poll() -> None:
        raise RuntimeError("stop")

    slow = (*toy[:2], "import time; time.sleep(1)\n" + toy[2])
    with WarmServer(slow) as server:
        with pytest.raises(RuntimeError, match="stop"):
            server.run(["sleep"], log_path=tmp_path / "a.log", time_limit_seconds=60, poll=poll)
        assert server.run(["0"], log_path=tmp_path / "b.log", time_limit_seconds=20).ok
        (served,) = [
            each for each in psutil.Process().children() if "toy_worker" in " ".join(each.cmdline())
        ]
        assert wait_for(lambda: not served.children())


@linux
def test_a_server_that_cannot_fork_falls_back_to_ordinary_processes(tmp_path: Path) -> None:
    """Where an import has started CUDA, or fails, each trial pays its own import and still runs."""
    refuses = (sys.executable, "-c", 'print(\'{"error": "CUDA has started"}\')')
    breaks = (sys.executable, "-c", "import no_such_library")
    for number, command in enumerate((refuses, breaks)):
        cold = (sys.executable, "-c", "import sys; raise SystemExit(int(sys.argv[1]))")
        with WarmServer(command, cold_command=cold) as server:
            log = tmp_path / f"{number}.log"
            assert server.run(["5"], log_path=log, time_limit_seconds=20).exit_status == 5


@linux
def test_losing_the_server_ends_its_forks_and_the_next_run_is_cold(
    tmp_path: Path, toy: tuple[str, ...]
) -> None:
    """A server killed for memory does not hang the search."""
    cold = (sys.executable, "-c", "import sys; raise SystemExit(int(sys.argv[1]))")
    with WarmServer(toy, cold_command=cold) as server, ThreadPoolExecutor(1) as pool:
        log = tmp_path / "a.log"
        future = pool.submit(server.run, ["sleep"], log_path=log, time_limit_seconds=60)
        assert wait_for(lambda: log.is_file() and "sleep" in log.read_text())
        forks = [
            each
            for each in psutil.Process().children(recursive=True)
            if each.parent() is not None and "toy_worker" in " ".join(each.cmdline())
        ]
        os.kill(next(each.pid for each in forks if each.ppid() == os.getpid()), signal.SIGKILL)
        assert future.result(timeout=20).stopped_by_signal == signal.SIGKILL
        assert wait_for(lambda: all(gone(each.pid) for each in forks))
        result = server.run(["5"], log_path=tmp_path / "b.log", time_limit_seconds=20)
        assert result.exit_status == 5
