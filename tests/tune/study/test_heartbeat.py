"""Which workers of a study are gone, by their processes or by their heartbeats."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

from tsplanner.identity import host_identity, started_at
from tsplanner.tune.study.heartbeat import KEY, Worker, WorkerRegistry, this_process


def registry(shared: dict[str, Any], **changes: Any) -> WorkerRegistry:
    """A worker that only looks at attributes in memory."""
    return WorkerRegistry(lambda: shared, shared.__setitem__, **changes)


def test_worker_of_this_host_is_gone_with_its_process() -> None:
    """A process id alone is not enough: its number may be another process's by now."""
    me = this_process()
    shared = {
        f"{KEY}{one.name}": asdict(one)
        for one in (
            replace(me, name="alive"),
            replace(me, name="earlier", started="1"),
            replace(me, name="left", left=True),
        )
    }
    looks = registry(shared)
    assert [looks.is_gone(name) for name in ("alive", "earlier", "left", "never")] == [
        False,
        True,
        True,
        True,
    ]


def test_child_that_nobody_reaped_counts_as_gone() -> None:
    """A killed worker may stay in the table of processes for long."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert started_at(child.pid) is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert started_at(child.pid) is None
    child.wait()


def test_silent_worker_of_another_host_is_gone_after_the_limit() -> None:
    """Only a beat that does not change for so long says so, by the observer's own clock."""
    far = Worker(name="far:7", host="elsewhere", pid=7, started="1", heartbeat=3)
    shared = {f"{KEY}far:7": asdict(far)}
    looks = registry(shared, gone_seconds=0.0)
    assert not looks.is_gone("far:7")
    assert looks.is_gone("far:7")
    shared[f"{KEY}far:7"] = asdict(replace(far, heartbeat=4))
    assert not looks.is_gone("far:7")
    looks.forget_heartbeats()
    assert not looks.is_gone("far:7")


def test_worker_of_the_version_before_is_known() -> None:
    """It called the heartbeat by another name."""
    stored = asdict(Worker(name="far:7", host="elsewhere", pid=7, started="1", heartbeat=3))
    stored["beat"] = stored.pop("heartbeat")
    looks = registry({f"{KEY}far:7": stored})
    assert looks.workers()["far:7"].heartbeat == 3


def test_two_hosts_of_one_name_and_number_are_told_apart() -> None:
    """Containers often share both; the second worker gets a name of its own."""
    me = this_process()
    shared = {f"{KEY}{me.name}": asdict(replace(me, host="the other container"))}
    enters = registry(shared)
    enters.enter()
    assert enters.me.name == f"{me.name}#2"
    assert shared[f"{KEY}{me.name}#2"]["host"] == host_identity()
    enters.leave()
