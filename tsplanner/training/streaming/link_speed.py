"""``python -m tsplanner.training.streaming.link_speed OUT.json [FILE ...]``: rates of this machine.

Copies between locked host memory and every GPU that CUDA shows, alone and all at once, in the
pieces that streamed layers are; and reads of the files that are named, past the system's cache.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tsplanner.training.streaming.regions import Region

COPY_BYTES = 256 * 2**20
"""About a layer of 14B in half precision."""
COPIES = 8
MOST_READ_BYTES = 2 * 2**30
READ_BYTES = 16 * 2**20


def device_rates() -> list[dict[str, object]]:
    """Bytes per second of each GPU: to it, from it, and to it while all GPUs copy."""
    count = torch.cuda.device_count()
    places = [torch.device("cuda", index) for index in range(count)]
    regions = [Region(COPY_BYTES, lock=True) for _ in places]
    for region in regions:
        region.bytes.fill_(1)
        region.lock()
    buffers = [torch.empty(COPY_BYTES, dtype=torch.uint8, device=place) for place in places]
    found: list[dict[str, object]] = []
    for place, region, buffer in zip(places, regions, buffers, strict=True):
        found.append(
            {
                "uuid": f"GPU-{torch.cuda.get_device_properties(place).uuid}",
                "to_device": rate_of([(buffer, region.bytes)]),
                "to_host": rate_of([(region.bytes, buffer)]),
            }
        )
    pairs = [(buffer, region.bytes) for buffer, region in zip(buffers, regions, strict=True)]
    shared = rate_of(pairs) if count > 1 else None
    for each in found:
        each["shared"] = shared or each["to_device"]
    for region in regions:
        region.release()
    return found


def rate_of(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Bytes per second of copies (into, from), all at once; the slowest where there are several."""

    def copy(times: int) -> None:
        for _ in range(times):
            for into, source in pairs:
                into.copy_(source, non_blocking=True)

    copy(1)
    return timed(lambda: copy(COPIES), COPIES * pairs[0][0].numel())


def timed(work: Callable[[], None], size: int) -> float:
    """Bytes per second of work that moves so many."""
    wait()
    began = time.perf_counter()
    work()
    wait()
    return size / (time.perf_counter() - began)


def wait() -> None:
    """Wait for every GPU."""
    for index in range(torch.cuda.device_count()):
        torch.cuda.synchronize(index)


def read_rate(paths: Sequence[Path]) -> float | None:
    """Bytes per second at which files come from their disk; None where there is nothing to read.

    What the system has cached of them is dropped first, so that the disk is measured.
    """
    read, seconds = 0, 0.0
    piece = memoryview(bytearray(READ_BYTES))
    for path in paths:
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            began = time.perf_counter()
            while read < MOST_READ_BYTES and (count := file.readinto(piece)):
                read += count
            seconds += time.perf_counter() - began
        if read >= MOST_READ_BYTES:
            break
    return read / seconds if read and seconds else None


def main(arguments: Sequence[str]) -> None:
    """Write what was measured as JSON."""
    out, *files = arguments
    found = {
        "devices": device_rates() if torch.cuda.is_available() else [],
        "disk": read_rate([Path(each) for each in files]),
    }
    Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
