"""The rows of the catalogue, beside what vendors print."""

from __future__ import annotations

import pytest

from tsplanner.hardware.gpus.names import gpu_by_text


@pytest.mark.parametrize(
    ("text", "teraflops"),
    [
        ("RTX 2070", 288 * 1.62 * 64 / 1000),
        ("RTX 4090 Laptop", 304 * 2.04 * 128 / 1000),
        ("RTX 5000 Ada", 400 * 2.55 * 256 / 1000),
        ("RTX PRO 4500 Blackwell", 328 * 2.62 * 256 / 1000),
    ],
)
def test_a_rate_that_no_datasheet_prints_is_cores_by_clock(text: str, teraflops: float) -> None:
    """Tensor cores x gigahertz x operations per clock of such a card."""
    gpu, _ = gpu_by_text(text)
    assert gpu.matrix_flops_per_second / 1e12 == pytest.approx(teraflops, rel=0.01)


def test_a_laptop_is_no_card_of_the_same_number() -> None:
    """Another chip: three quarters of the cores and less than half of the rate."""
    laptop, card = gpu_by_text("RTX 4090 Laptop")[0], gpu_by_text("RTX 4090")[0]
    assert laptop.matrix_flops_per_second < card.matrix_flops_per_second / 2
    assert laptop.memory_gib == (16,)
