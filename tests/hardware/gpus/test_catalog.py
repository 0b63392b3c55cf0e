"""Rows of the GPU catalogue."""

from __future__ import annotations

import pytest

from tsplanner.hardware.gpus.cards import CATALOG
from tsplanner.hardware.gpus.catalog import GENERATIONS, Gpu, name_key, size_in, usable_bytes
from tsplanner.hardware.gpus.names import gpu_by_text

GIB = 1024**3
MIB = 1024**2


@pytest.mark.parametrize("gpu", CATALOG, ids=lambda gpu: gpu.name)
def test_every_row_is_complete_and_plausible(gpu: Gpu) -> None:
    """A slip in a unit or a column shows as a rate no card ever had."""
    assert gpu.compute_capability in GENERATIONS
    assert gpu.source
    slowest = 14e12 if gpu.compute_capability >= (7, 0) else 9e12  # Pascal has no tensor cores
    assert slowest < gpu.matrix_flops_per_second < 3e15
    assert 160e9 <= gpu.memory_bytes_per_second <= 8e12
    assert gpu.links.pcie_generation in (3, 4, 5, 6)
    assert gpu.links.nvlink_built_in <= (gpu.links.nvlink_bytes_per_second is not None)


def test_catalogue_names_are_unique() -> None:
    """A card is listed once."""
    names = [gpu.name for gpu in CATALOG]
    assert len(names) == len(set(names))


def test_usable_memory_is_near_what_idle_cards_leave() -> None:
    """21.6 of 22 GiB, 79.1 of 80 and 139.7 of 141, to a tenth of a GiB."""
    assert round(usable_bytes(22 * GIB) / GIB, 1) == 21.6
    assert round(usable_bytes(80 * GIB) / GIB, 1) == 79.2
    assert round(usable_bytes(141 * GIB) / GIB, 1) == 139.7
    assert usable_bytes(0) == 0


def test_a_grace_hopper_reaches_its_host_through_c2c() -> None:
    """450 GB/s each way on the board; PCIe 5 would be 63."""
    gpu, _ = gpu_by_text("GH200 96GB")
    assert gpu.host_link_bytes_per_second == 450e9
    assert gpu_by_text("H200")[0].host_link_bytes_per_second == pytest.approx(63e9, rel=0.01)


def test_a_card_without_memory_of_its_own_says_so() -> None:
    """A DGX Spark counts the RAM of its host as the memory of its GPU."""
    sharing = [gpu.name for gpu in CATALOG if gpu.links.shares_host_memory]
    assert sharing == ["GB10"]


def test_cards_with_inline_error_correction_show_a_sixteenth_less() -> None:
    """A T4 is sold with 16 GiB and shows 15."""
    gpu, size = gpu_by_text("T4")
    assert gpu.total_bytes(size) == 15 * GIB


@pytest.mark.parametrize("text", ["NVIDIA GeForce RTX 2080 Ti", "RTX2080Ti", "2080 ti 22GiB"])
def test_a_name_has_one_key_however_it_is_written(text: str) -> None:
    """Vendor, family, size, case and punctuation do not count."""
    assert name_key(text) == "2080ti"


@pytest.mark.parametrize(
    ("text", "size"),
    [("A100-80GB", 80), ("RTX 2080 Ti 22 GiB", 22), ("L4 22.5g", 22.5), ("RTX 4090", None)],
)
def test_a_size_is_read_out_of_a_name(text: str, size: float | None) -> None:
    """GB means GiB, as vendors write it; a model number is no size."""
    assert size_in(text) == size
