"""Agreement between the processes of one run; a run of one process has nothing to agree on.

The launcher (torchrun) sets RANK, LOCAL_RANK and WORLD_SIZE; without a launcher the process has
rank 0 in a world of size 1.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
import torch.distributed as dist

from tsplanner.errors import TsplannerError
from tsplanner.planner.settings import HardwareSettings
from tsplanner.training.worker.untyped_errors import UntypedError, untyped_error

T = TypeVar("T")

END_SECONDS = 3.0
"""A process that was told to end may wait in a collective without an answer: then it exits."""


def rank() -> int:
    """The rank of this process among the processes of the run."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes of the run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """The rank of this process among the processes of its host."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def processes_of_host() -> int:
    """Number of processes of the run on this host that can talk to each other already."""
    if world_size() == 1 or not dist.is_initialized():
        return 1
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def from_first_of_host(value: T) -> T:
    """What the first process of this host gives; every process must ask at the same point."""
    host = os.environ.get("GROUP_RANK", "0")
    everybody: list[tuple[str, int, T]] = [(host, local_rank(), value)] * world_size()
    dist.all_gather_object(everybody, (host, local_rank(), value))
    return next(given for where, place, given in everybody if (where, place) == (host, 0))


def is_main() -> bool:
    """Whether this process writes the files that are written once."""
    return rank() == 0


def check_world_size(hardware: HardwareSettings) -> None:
    """Raise TsplannerError if the launcher started other processes than were planned."""
    planned = hardware.sharding.world_size
    if world_size() != planned:
        raise TsplannerError(
            f"The plan is for {planned} processes and {world_size()} were started: "
            f"use torchrun --nproc-per-node {planned}, or plan again."
        )
    sharding = hardware.sharding
    if not (sharding.shards_base and sharding.fsdp_per_host):
        return
    here = int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size())))
    if here != sharding.slices or rank() % sharding.slices != local_rank():
        raise TsplannerError(
            f"The plan has a copy of the base on each of {sharding.nodes} machines, shared out by "
            f"{sharding.slices} processes, and {here} were started on this one: use torchrun "
            f"--nnodes {sharding.nodes} --nproc-per-node {sharding.slices}, or plan again."
        )


def any_process(flag: bool) -> bool:
    """Whether ``flag`` is true in any process; every process must ask at the same point."""
    return largest(int(flag)) > 0


def largest(number: int) -> int:
    """The largest ``number`` of all processes; every process must ask at the same point."""
    return largest_each([number])[0]


def largest_each(numbers: list[int]) -> list[int]:
    """The largest of each of the ``numbers``, as ``largest``."""
    if world_size() == 1 or not dist.is_initialized():
        return numbers
    found = torch.tensor(numbers, dtype=torch.int32, device=device())
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return [int(each) for each in found.tolist()]


def interleaved(rows: list[T], count: int) -> list[T]:
    """The first ``count`` rows of all processes, where row i went to process i mod world size.

    The sampler hands some rows out twice, so that all processes get equally many; those rows come
    last.
    """
    if world_size() == 1 or not dist.is_initialized():
        return rows
    everybody: list[list[T]] = [[] for _ in range(world_size())]
    dist.all_gather_object(everybody, rows)
    order = [row for together in zip(*everybody, strict=True) for row in together]
    return order[:count]


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by its mean over all processes, as DDP does in a backward.

    A parameter that a process did not use counts there as a gradient of zeros.
    """
    if world_size() == 1 or not dist.is_initialized():
        return
    trained = [each for each in parameters if each.requires_grad]
    for each in trained:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
    flat = torch.cat([each.grad.flatten() for each in trained if each.grad is not None])
    dist.all_reduce(flat)
    flat /= world_size()
    parts = flat.split([each.numel() for each in trained])
    for each, part in zip(trained, parts, strict=True):
        each.grad = part.view_as(each)


def barrier() -> None:
    """Wait for all processes of the run."""
    if world_size() > 1 and dist.is_initialized():
        dist.barrier()


def leave(status: int) -> None:
    """End this process; one of several exits at once, for the others may wait in a collective."""
    if world_size() == 1:
        return
    if status == 0 and dist.is_initialized():
        dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def on_signals(called: Callable[[], object]) -> None:
    """Call ``called`` from a thread when a signal with a handler arrives.

    The handler itself runs once the main thread is back in Python, which may never happen while the
    process waits in a collective; the byte on this pipe is written at once.
    """
    reader, writer = os.pipe()
    # Python refuses a blocking descriptor for the wake-up.
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def wait() -> None:
        os.read(reader, 1)
        called()

    threading.Thread(target=wait, daemon=True, name="signals").start()


def leave_soon(status: int, last_words: Callable[[], object], agreed: Callable[[], bool]) -> None:
    """Exit even if this process never comes back from where it waits.

    Processes that ``agreed`` to stop are all alive: they have the time that the launcher gives
    them.
    """
    time.sleep(END_SECONDS)
    if agreed():
        return
    with contextlib.suppress(Exception):  # the process exits, whether or not it could say why
        last_words()
    os._exit(status)


def lost_connection(error: BaseException) -> bool:
    """Whether a collective failed because another process was gone."""
    return world_size() > 1 and untyped_error(error) is UntypedError.LOST_CONNECTION


def device() -> torch.device:
    """Where the tensors of a collective lie."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
