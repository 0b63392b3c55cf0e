"""Names that find a row of the GPU catalogue."""

from __future__ import annotations

import pytest

from tsplanner.errors import UsageError
from tsplanner.hardware.gpus.cards import CATALOG
from tsplanner.hardware.gpus.catalog import Gpu
from tsplanner.hardware.gpus.names import gpu_by_driver_name, gpu_by_text

GIB = 1024**3
MIB = 1024**2


@pytest.mark.parametrize("gpu", CATALOG, ids=lambda gpu: gpu.name)
def test_every_name_of_a_gpu_with_its_size_finds_it_and_nothing_else(gpu: Gpu) -> None:
    """No two cards answer to the same name and memory size."""
    for size in (*gpu.memory_gib, *gpu.modified_gib):
        for name in (*gpu.keys, *gpu.names.patterns_with_size):
            assert gpu_by_text(f"{name} {size}GiB") == (gpu, size)
    assert gpu_by_text(f"{gpu.name} {gpu.memory_gib[0]}GiB") == (gpu, gpu.memory_gib[0])


@pytest.mark.parametrize(
    ("printed", "mib", "name"),
    [
        ("NVIDIA GeForce RTX 2080 Ti", 11264, "RTX 2080 Ti"),
        ("NVIDIA GeForce RTX 2080 Ti", 22528, "RTX 2080 Ti"),
        ("Quadro RTX 6000", 24576, "Quadro RTX 6000"),
        ("Tesla T4", 15360, "T4"),
        ("Tesla V100-SXM2-16GB", 16384, "V100 SXM2"),
        ("NVIDIA A10", 23028, "A10"),
        ("NVIDIA RTX A6000", 49140, "RTX A6000"),
        ("NVIDIA A100-SXM4-40GB", 40960, "A100 SXM4 40GB"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100 SXM4 80GB"),
        ("NVIDIA A100 80GB PCIe", 81920, "A100 PCIe 80GB"),
        ("NVIDIA GeForce RTX 3080", 12288, "RTX 3080 12GB"),
        ("NVIDIA GeForce RTX 4090", 24564, "RTX 4090"),
        ("NVIDIA RTX 6000 Ada Generation", 49140, "RTX 6000 Ada"),
        ("NVIDIA L40S", 46068, "L40S"),
        ("NVIDIA H100 80GB HBM3", 81559, "H100 SXM5"),
        ("NVIDIA H100 PCIe", 81559, "H100 PCIe"),
        ("NVIDIA H100 NVL", 95830, "H100 NVL"),
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA B200", 183359, "B200"),
        (
            "NVIDIA RTX PRO 6000 Blackwell Server Edition",
            97887,
            "RTX PRO 6000 Blackwell Server",
        ),
        ("NVIDIA GeForce RTX 5090", 32607, "RTX 5090"),
        ("NVIDIA GeForce RTX 5090 D", 32607, "RTX 5090 D"),
        ("NVIDIA GeForce RTX 4090 D", 24564, "RTX 4090 D"),
        ("NVIDIA TITAN RTX", 24576, "TITAN RTX"),
        ("TITAN RTX", 24220, "TITAN RTX"),
        ("NVIDIA A10G", 23028, "A10G"),
        ("NVIDIA A800-SXM4-80GB", 81920, "A800 SXM4 80GB"),
        ("NVIDIA A800 80GB PCIe", 81920, "A800 PCIe 80GB"),
        ("NVIDIA A800 40GB Active", 40960, "A800 PCIe 40GB"),
        ("NVIDIA H800", 81559, "H800 SXM5"),
        ("NVIDIA H800 PCIe", 81559, "H800 PCIe"),
        ("NVIDIA H20", 97871, "H20"),
        ("NVIDIA L20", 46068, "L20"),
        ("Tesla P100-PCIE-16GB", 16280, "P100 PCIe"),
        ("Tesla P40", 23040, "P40"),
        ("NVIDIA GH200 480GB", 97871, "GH200 96GB"),
        ("NVIDIA B300 SXM6 AC", 275040, "B300"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, "RTX 4090 Laptop"),
        ("NVIDIA GeForce RTX 3050 6GB Laptop GPU", 6144, "RTX 3050 Laptop 6GB"),
        ("NVIDIA GeForce RTX 3050 Laptop GPU", 4096, "RTX 3050 Laptop 4GB"),
        ("NVIDIA GB10", 122570, "GB10"),
        ("NVIDIA RTX PRO 4500 Blackwell", 32623, "RTX PRO 4500 Blackwell"),
        ("NVIDIA TITAN V", 12288, "TITAN V"),
    ],
)
def test_names_that_drivers_print_find_their_row(printed: str, mib: int, name: str) -> None:
    """Rates are known for a card that is here, whichever memory size it has."""
    gpu = gpu_by_driver_name(printed, mib * MIB)
    assert gpu is not None
    assert gpu.name == name


@pytest.mark.parametrize("printed", ["NVIDIA GeForce MX450", "GeForce GTX 1080", ""])
def test_a_driver_name_off_the_catalogue_has_no_row(printed: str) -> None:
    """No rate is better than a wrong one."""
    assert gpu_by_driver_name(printed, 8 * GIB) is None


@pytest.mark.parametrize(
    ("text", "name", "gib"),
    [
        ("RTX 2080 Ti 22GiB", "RTX 2080 Ti", 22),
        ("rtx2080ti 11g", "RTX 2080 Ti", 11),
        ("2080 ti 22 GB", "RTX 2080 Ti", 22),
        ("RTX 6000 24GB", "Quadro RTX 6000", 24),
        ("RTX 6000 48GiB", "RTX 6000 Ada", 48),
        ("RTX 6000 96GiB", "RTX PRO 6000 Blackwell", 96),
        ("RTX_6000_Ada", "RTX 6000 Ada", 48),
        ("a100-80g", "A100 SXM4 80GB", 80),
        ("A100 PCIe 40GB", "A100 PCIe 40GB", 40),
        ("H100", "H100 SXM5", 80),
        ("H100 94GB", "H100 NVL", 94),
        ("4090", "RTX 4090", 24),
        ("RTX 4090 48GiB", "RTX 4090", 48),
        ("L4 22.5GiB", "L4", 24),
        ("A800", "A800 SXM4 80GB", 80),
        ("H800", "H800 SXM5", 80),
        ("P100", "P100 PCIe", 16),
        ("A100-80GB", "A100 SXM4 80GB", 80),
        ("H100-SXM", "H100 SXM5", 80),
        ("RTXA6000", "RTX A6000", 48),
        ("RTX6000-Ada", "RTX 6000 Ada", 48),
        ("RTX4090-24G", "RTX 4090", 24),
        ("DGX Spark", "GB10", 120),
        ("B300 288GB", "B300", 268),
    ],
)
def test_names_as_people_write_them_find_their_row(text: str, name: str, gib: int) -> None:
    """Case, punctuation and the vendor's words do not matter; a written size does."""
    gpu, size = gpu_by_text(text)
    assert (gpu.name, size) == (name, gib)


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("RTX 6000", ["Quadro RTX 6000 24GiB", "RTX 6000 Ada 48GiB", "Blackwell 96GiB"]),
        ("A100", ["A100 SXM4 40GB", "A100 SXM4 80GB"]),
        ("2080 Ti", ["RTX 2080 Ti 11GiB", "RTX 2080 Ti 22GiB"]),
        ("RTX 4060 Ti", ["RTX 4060 Ti 8GiB", "RTX 4060 Ti 16GiB"]),
        ("V100", ["V100 SXM2 16GiB", "V100 SXM2 32GiB"]),
    ],
)
def test_an_ambiguous_name_is_a_question(text: str, choices: list[str]) -> None:
    """The card's name does not say its memory: the choices are listed, none is taken."""
    with pytest.raises(UsageError) as refusal:
        gpu_by_text(text)
    for choice in choices:
        assert choice in str(refusal.value)


def test_a_size_that_the_card_never_had_is_refused() -> None:
    """A slip in the size would otherwise end in a plan for no card at all."""
    with pytest.raises(UsageError, match="it can be RTX 3090 24GiB"):
        gpu_by_text("RTX 3090 42GiB")


def test_an_unknown_name_is_refused_with_the_closest_one() -> None:
    """A typing error is answered with the card that was meant."""
    with pytest.raises(UsageError, match='Did you mean "RTX 2080 Ti"'):
        gpu_by_text("GTX 2080 Ti")


@pytest.mark.parametrize(
    ("text", "maker"),
    [
        ("MI300X", "AMD"),
        ("AMD Instinct MI250X", "AMD"),
        ("Radeon RX 7900 XTX", "AMD"),
        ("RX7900XTX", "AMD"),
        ("Apple M3 Max 64GB", "Apple"),
        ("M2 Ultra", "Apple"),
        ("Intel Arc A770", "Intel"),
        ("Gaudi 3", "Intel"),
        ("TPU v5e", "Google"),
        ("Ascend 910B", "Huawei"),
    ],
)
def test_a_card_of_another_maker_is_named_as_such(text: str, maker: str) -> None:
    """Nobody is sent to a similar name, or told to edit an installed package."""
    with pytest.raises(UsageError, match=f"made by {maker}, and only NVIDIA's") as refusal:
        gpu_by_text(text)
    assert "Did you mean" not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["GeForce 256", "MX450", "Tesla K80", "GTX 1070", "A1000", "my card"]
)
def test_a_far_name_gets_no_guess_but_a_way_on(text: str) -> None:
    """Memory and compute capability describe any card."""
    with pytest.raises(UsageError, match='such as "24GiB sm_86"') as refusal:
        gpu_by_text(text)
    assert "Did you mean" not in str(refusal.value)


def test_digits_in_another_order_are_a_slip() -> None:
    """Nobody sells an RTX 3009."""
    with pytest.raises(UsageError, match='Did you mean "RTX 3090"'):
        gpu_by_text("RTX 3009")
