"""Host memory of streamed layers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from tsplanner.errors import TsplannerError  # noqa: E402
from tsplanner.training.streaming import regions  # noqa: E402
from tsplanner.training.streaming.regions import Region, locked_bytes  # noqa: E402


def test_a_region_has_the_size_that_was_asked_for() -> None:
    """PyTorch's own pinned memory would take the next power of two."""
    region = Region(5 * 4096, lock=False)
    assert region.bytes.shape == (5 * 4096,)
    assert not region.bytes.any()
    region.lock()
    assert not region.locked  # nobody asked for it


def test_memory_that_cannot_be_locked_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third of three layers fails: what is locked is given back, and the sentence says how
    far it came.
    """
    unlocked: list[int] = []
    calls = iter((0, 0, 2))
    cudart = SimpleNamespace(
        cudaHostRegister=lambda *_: next(calls), cudaHostUnregister=unlocked.append
    )
    monkeypatch.setattr(torch.cuda, "cudart", lambda: cudart)
    monkeypatch.setattr(regions, "_LOCKED", {"now": 0, "peak": 0})
    kept = [Region(2**30, lock=True) for _ in range(3)]
    for each in kept[:2]:
        each.lock()
    with pytest.raises(TsplannerError, match=r"lock 1\.00 GiB .* after 2\.00 GiB .* --streamed-l"):
        kept[2].lock()
    assert locked_bytes() == 2 * 2**30
    kept.clear()
    del each
    assert len(unlocked) == 2


def test_memory_that_is_not_there_is_told_in_one_sentence() -> None:
    """No address space has room for 2^60 bytes."""
    with pytest.raises(TsplannerError, match=r"The host has no .*--streamed-layers"):
        Region(2**60, lock=False)


def test_two_processes_map_the_same_memory_file() -> None:
    """What one of them writes the other one reads."""
    import os

    file = os.memfd_create("shared")
    os.ftruncate(file, 8192)
    one = Region(4096, lock=False, file=file, offset=4096)
    other = Region(4096, lock=False, file=file, offset=4096)
    one.bytes[7] = 3
    assert int(other.bytes[7]) == 3
    os.close(file)
