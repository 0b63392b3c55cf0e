"""Two processes of a host hold the streamed layers once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tsplanner.training.streaming.host_copy import HostCopy  # noqa: E402

MIB = 2**20
SIZE = 64 * MIB
PROCESS = f"""
import json, os, re, sys, torch.distributed as dist
from tsplanner.training.streaming.host_copy import HostCopy
dist.init_process_group("gloo")
fills = dist.get_rank() == 0
copy = HostCopy({{0: {SIZE}, 1: {SIZE}}}, lock=False)
regions = [copy.region(place, {SIZE}, fills=fills) for place in range(2)]
if fills:
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


HALF_WAY = f"""
import sys, torch.distributed as dist
from tsplanner.training.streaming.host_copy import HostCopy
dist.init_process_group("gloo")
fills = dist.get_rank() == 0
copy = HostCopy({{0: {SIZE}, 1: {SIZE}}}, lock=False)
regions = [copy.region(place, {SIZE}, fills=fills) for place in range(2)]
if fills:
    regions[0].bytes.fill_(1)
    print("half", flush=True)
    sys.stdin.readline()
print("waits", flush=True)
copy.filled()
"""
BASES = """
import json, re, sys
from pathlib import Path
import torch, torch.distributed as dist
from tests.training.streaming.test_reading import wide_base
dist.init_process_group("gloo")
numbers = tuple(map(int, sys.argv[2].split(",")))
found, added = wide_base(Path(sys.argv[1]), "fp16", "none", numbers)
parts = open("/proc/self/smaps").read().split("VmFlags")
own = [part for part in parts if "memfd:tsplanner" in part]
shares = sum(int(re.search(r"Pss: +([0-9]+) kB", part)[1]) for part in own) * 1024
last = max(found.slabs)
mean = float(found.slabs[last].places[0].of(found.slabs[last].host).float().mean())
dist.barrier()
print(json.dumps([shares, added, [slab.size for slab in found.slabs.values()], mean]))
sys.stdout.flush()
dist.barrier()
"""


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def holders() -> list[str]:
    """Processes that map one of our memory files."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/maps") as maps:
                found += [entry] if "memfd:tsplanner" in maps.read() else []
    return found


def start(
    rank: int, port: int, program: str = "", arguments: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """One of two processes, as torchrun starts it."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-c", program or PROCESS, *arguments],
        env=os.environ | {name: str(value) for name, value in (own | address).items()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_alone_has_regions_of_its_own() -> None:
    """There is nobody to share with."""
    copy = HostCopy({0: 4096, 1: 4096}, lock=False)
    assert not copy.shared
    one, other = (copy.region(place, 4096, fills=True) for place in range(2))
    one.bytes.fill_(1)
    assert not other.bytes.any()
    copy.filled()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory files are of Linux")
def test_both_read_what_one_has_written_and_the_host_holds_it_once() -> None:
    """128 MiB in all, of which each counts half; nothing is left where one of them is killed."""
    port = free_port()
    both = [start(rank, port) for rank in range(2)]
    answers = [json.loads(each.stdout.readline()) for each in both if each.stdout]
    assert [means for means, _ in answers] == [[1, 2], [1, 2]]
    assert sum(share for _, share in answers) == pytest.approx(2 * SIZE, rel=0.05)
    both[0].send_signal(signal.SIGKILL)
    both[1].communicate("go\n", timeout=60)
    both[0].communicate(timeout=60)
    assert not [name for name in os.listdir("/dev/shm") if "tsplanner" in name]
    assert not holders()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory files are of Linux")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_where_the_one_that_fills_is_gone_half_way_the_other_ends_and_nothing_is_left(
    sent: signal.Signals,
) -> None:
    """It does not wait for ever, and it says that it lost the other processes."""
    from tsplanner.training.worker.untyped_errors import SIGNS, UntypedError

    port = free_port()
    both = [start(rank, port, HALF_WAY) for rank in range(2)]
    for each, word in zip(both, ("half", "waits"), strict=True):
        assert each.stdout is not None
        assert each.stdout.readline().strip() == word
    assert len(holders()) == 2
    both[0].send_signal(sent)
    _, said = both[1].communicate(timeout=60)
    both[0].communicate(timeout=60)
    assert both[1].returncode != 0
    assert any(sign in said.lower() for sign in SIGNS[UntypedError.LOST_CONNECTION])
    assert not holders()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory files are of Linux")
@pytest.mark.parametrize(("numbers", "held"), [((12, 12), 12), ((5, 6), 8)])
def test_two_bases_that_are_cast_on_their_way_are_one_on_the_host(
    tmp_path: Path, numbers: tuple[int, int], held: int
) -> None:
    """384 MiB in fp16 from files in bf16: what the two processes add together is that and 5 %.

    Of twelve layers one process keeps 0, 1, 3, 5, 6, 8 and 10, the other every second one: without
    the four that both keep the copy has eight, which either fills in part.
    """
    from tests.training.streaming.test_reading import write_wide

    write_wide(tmp_path / "wide")
    port = free_port()
    arguments = (str(tmp_path / "wide"), ",".join(map(str, numbers)))
    both = [start(rank, port, BASES, arguments) for rank in range(2)]
    answers = [each.communicate(timeout=240) for each in both]
    assert [each.returncode for each in both] == [0, 0], answers
    found = [json.loads(out.splitlines()[-1]) for out, _ in answers]
    assert [len(slabs) for _, _, slabs, _ in found] == list(numbers)
    layer = found[0][2][0]
    assert [mean for *_, mean in found] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert sum(shares for shares, *_ in found) == pytest.approx(held * layer, rel=0.01)
    # What each has of its own, beyond the layers that it keeps and the copy that it maps.
    whole = 12 * layer
    assert sum(added - whole for _, added, *_ in found) < 0.05 * whole + 48 * MIB
