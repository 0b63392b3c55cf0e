"""Two processes of a host hold the streamed layers once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.streaming.host_copy import HostCopy  # noqa: E402

MIB = 2**20
SIZE = 64 * MIB
PROCESS = f"""
import json, os, re, sys, torch.distributed as dist
from tsplanner.training.streaming.host_copy import HostCopy
dist.init_process_group("gloo")
copy = HostCopy(2 * {SIZE}, lock=False)
regions = [copy.region({SIZE}) for _ in range(2)]
if copy.fills:
    for place, region in enumerate(regions):
        region.bytes.fill_(place + 1)
copy.filled()
means = [int(region.bytes.float().mean()) for region in regions]
dist.barrier()
parts = open("/proc/self/smaps").read().split("VmFlags")
own = [part for part in parts if "memfd:tsplanner" in part]
shares = sum(int(re.search(r"Pss: +([0-9]+) kB", part)[1]) for part in own) * 1024
dist.barrier()
print(json.dumps([means, shares]), flush=True)
sys.stdin.readline()
"""


def start(rank: int, port: int) -> subprocess.Popen[str]:
    """One of two processes, as torchrun starts it."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS],
        env=os.environ | {name: str(value) for name, value in (own | address).items()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_process_alone_has_regions_of_its_own() -> None:
    """There is nobody to share with."""
    copy = HostCopy(8192, lock=False)
    assert copy.fills
    assert not copy.shared
    one, other = copy.region(4096), copy.region(4096)
    one.bytes.fill_(1)
    assert not other.bytes.any()
    copy.filled()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory files are of Linux")
def test_both_read_what_one_has_written_and_the_host_holds_it_once() -> None:
    """128 MiB in all, of which each counts half; nothing is left where one of them is killed."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    both = [start(rank, port) for rank in range(2)]
    answers = [json.loads(each.stdout.readline()) for each in both if each.stdout]
    assert [means for means, _ in answers] == [[1, 2], [1, 2]]
    assert sum(share for _, share in answers) == pytest.approx(2 * SIZE, rel=0.05)
    both[0].send_signal(signal.SIGKILL)
    both[1].communicate("go\n", timeout=60)
    both[0].communicate(timeout=60)
    assert not [name for name in os.listdir("/dev/shm") if "tsplanner" in name]
