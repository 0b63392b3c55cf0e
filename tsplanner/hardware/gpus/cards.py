"""The cards of the GPU catalogue: the rates of the datasheets, one row per card.

To add a card, add a row to ``CATALOG``; ``tests/hardware/gpus/test_names.py`` checks that the
names of a card find that card and no other.

Rates of GeForce cards are those with fp32 accumulation, which training uses; they are half of the
advertised fp16 rates. Where a whitepaper omits that rate, the row has tensor cores x boost clock x
128 FLOP (64 on Turing, 256 on professional cards), which reproduces the printed rates of other
cards; a laptop's clock is the highest that NVIDIA lists for it, which many a laptop does not hold.
Pascal has no tensor cores, and its fp16 products with fp32 accumulation run at the fp32 rate.
"""

from __future__ import annotations

from memory_models.settings import from_flat
from tsplanner.hardware.gpus.catalog import Gpu

_P100 = "NVIDIA P100 datasheet"
_VOLTA = "NVIDIA V100 datasheet"
_TURING = "NVIDIA Turing architecture whitepaper, appendices"
_TESLA_T4 = "NVIDIA T4 datasheet"
_GA102 = "NVIDIA Ampere GA102 architecture whitepaper"
_AD102 = "NVIDIA Ada architecture whitepaper"
_A800 = "NVIDIA A800 datasheet"
_H800 = "NVIDIA H800 datasheet"
_GH200 = "NVIDIA GH200 datasheet"
_GB202 = "NVIDIA RTX Blackwell architecture whitepaper"
_LAPTOP_30 = "NVIDIA GeForce RTX 30 series laptops, specifications"
_LAPTOP_40 = "NVIDIA GeForce RTX 40 series laptops, specifications"
_LAPTOP_50 = "NVIDIA GeForce RTX 50 series laptops, specifications"


def _row(
    name: str,
    memory_gib: int | tuple[int, ...],
    capability: tuple[int, int],
    rates: tuple[float, float],
    pcie: int,
    source: str,
    **more: object,
) -> Gpu:
    """One card; ``rates`` are TFLOP/s and GB/s, ``nvlink`` is GB/s in one direction."""
    nvlink = more.pop("nvlink", None)
    return from_flat(
        Gpu,
        name=name,
        memory_gib=(memory_gib,) if isinstance(memory_gib, int) else memory_gib,
        compute_capability=capability,
        matrix_flops_per_second=rates[0] * 1e12,
        memory_bytes_per_second=rates[1] * 1e9,
        pcie_generation=pcie,
        source=source,
        nvlink_bytes_per_second=nvlink * 1e9 if isinstance(nvlink, (int, float)) else None,
        **more,
    )


# fmt: off
CATALOG: tuple[Gpu, ...] = (
    _row("P100 PCIe", 16, (6, 0), (9.3, 732), 3, _P100, patterns=("p100",)),
    _row("P100 SXM2", 16, (6, 0), (10.6, 732), 3, _P100, nvlink=80, nvlink_built_in=True),
    _row("P40", 24, (6, 1), (11.8, 346), 3, "NVIDIA P40 datasheet", inline_ecc=True),
    _row("V100 SXM2", (16, 32), (7, 0), (125, 900), 3, _VOLTA, nvlink=150, nvlink_built_in=True,
         patterns=("v100", "v100sxm", "v100sxm3")),
    _row("V100 PCIe", (16, 32), (7, 0), (112, 900), 3, _VOLTA),
    _row("V100S PCIe", 32, (7, 0), (130, 1134), 3, _VOLTA, patterns=("v100s",)),
    _row("T4", 16, (7, 5), (65, 320), 3, _TESLA_T4, inline_ecc=True),
    _row("TITAN V", 12, (7, 0), (110, 653), 3, "NVIDIA TITAN V specifications"),
    _row("RTX 2060", (6, 12), (7, 5), (25.8, 336), 3, _TURING),
    _row("RTX 2060 SUPER", 8, (7, 5), (28.7, 448), 3, _TURING),
    _row("RTX 2070", 8, (7, 5), (29.9, 448), 3, _TURING),
    _row("RTX 2070 SUPER", 8, (7, 5), (36.2, 448), 3, _TURING),
    _row("RTX 2080", 8, (7, 5), (42.4, 448), 3, _TURING, nvlink=25),
    _row("RTX 2080 SUPER", 8, (7, 5), (44.6, 496), 3, _TURING, nvlink=25),
    # Cards rebuilt with 22 GiB are so common that the bare name is ambiguous.
    _row("RTX 2080 Ti", (11, 22), (7, 5), (56.9, 616), 3, _TURING, nvlink=50),
    _row("TITAN RTX", 24, (7, 5), (130.5, 672), 3, _TURING, nvlink=50),
    _row("Quadro RTX 6000", 24, (7, 5), (130.5, 672), 3, _TURING, nvlink=50, patterns=("6000",)),
    _row("Quadro RTX 8000", 48, (7, 5), (130.5, 672), 3, _TURING, nvlink=50, patterns=("8000",)),
    _row("RTX 3050", 8, (8, 6), (18.2, 224), 4, _GA102, pcie_lanes=8),
    _row("RTX 3060", 12, (8, 6), (25.5, 360), 4, _GA102),
    _row("RTX 3060 Ti", 8, (8, 6), (32.4, 448), 4, _GA102),
    _row("RTX 3070", 8, (8, 6), (40.6, 448), 4, _GA102),
    _row("RTX 3080 10GB", 10, (8, 6), (59.5, 760), 4, _GA102, modified_gib=(20,)),
    _row("RTX 3080 12GB", 12, (8, 6), (61.3, 912), 4, _GA102),
    _row("RTX 3080 Ti", 12, (8, 6), (68.2, 912), 4, _GA102),
    _row("RTX 3090", 24, (8, 6), (71, 936), 4, _GA102, nvlink=56.25),
    _row("RTX 3090 Ti", 24, (8, 6), (80, 1008), 4, _GA102, nvlink=56.25),
    _row("A2", 16, (8, 6), (18, 200), 4, "NVIDIA A2 datasheet", pcie_lanes=8, inline_ecc=True),
    _row("A10", 24, (8, 6), (125, 600), 4, "NVIDIA A10 datasheet", inline_ecc=True),
    _row("A10G", 24, (8, 6), (70, 600), 4, "NVIDIA A10G datasheet of AWS", inline_ecc=True),
    _row("A30", 24, (8, 0), (165, 933), 4, "NVIDIA A30 datasheet", nvlink=100),
    _row("A40", 48, (8, 6), (149.7, 696), 4, "NVIDIA A40 datasheet", nvlink=56.25,
         inline_ecc=True),
    _row("RTX A2000", (6, 12), (8, 6), (31.9, 288), 4, "NVIDIA RTX A2000 datasheet"),
    _row("RTX A4000", 16, (8, 6), (76.7, 448), 4, "NVIDIA RTX A4000 datasheet"),
    _row("RTX A4500", 20, (8, 6), (94.6, 640), 4, "NVIDIA RTX A4500 datasheet", nvlink=56.25),
    _row("RTX A5000", 24, (8, 6), (111.1, 768), 4, "NVIDIA RTX A5000 datasheet", nvlink=56.25),
    _row("RTX A5500", 24, (8, 6), (136.4, 768), 4, "NVIDIA RTX A5500 datasheet", nvlink=56.25),
    _row("RTX A6000", 48, (8, 6), (154.8, 768), 4, "NVIDIA RTX A6000 datasheet", nvlink=56.25),
    _row("A100 SXM4 40GB", 40, (8, 0), (312, 1555), 4, "NVIDIA A100 datasheet", nvlink=300,
         nvlink_built_in=True, patterns=("a100", "a100sxm")),
    _row("A100 SXM4 80GB", 80, (8, 0), (312, 2039), 4, "NVIDIA A100 datasheet", nvlink=300,
         nvlink_built_in=True, patterns=("a100", "a100sxm")),
    _row("A100 PCIe 40GB", 40, (8, 0), (312, 1555), 4, "NVIDIA A100 datasheet", nvlink=300),
    _row("A100 PCIe 80GB", 80, (8, 0), (312, 1935), 4, "NVIDIA A100 datasheet", nvlink=300),
    _row("A800 SXM4 80GB", 80, (8, 0), (312, 2039), 4, _A800, nvlink=200, nvlink_built_in=True,
         patterns=("a800", "a800sxm")),
    _row("A800 PCIe 80GB", 80, (8, 0), (312, 1935), 4, _A800, nvlink=200),
    _row("A800 PCIe 40GB", 40, (8, 0), (312, 1555), 4, _A800, nvlink=200,
         patterns=("a800active",), patterns_with_size=("a800",)),
    _row("RTX 4060", 8, (8, 9), (30.2, 272), 4, _AD102, pcie_lanes=8),
    _row("RTX 4060 Ti", (8, 16), (8, 9), (44.1, 288), 4, _AD102, pcie_lanes=8),
    _row("RTX 4070", 12, (8, 9), (58.3, 504), 4, _AD102),
    _row("RTX 4070 SUPER", 12, (8, 9), (71, 504), 4, _AD102),
    _row("RTX 4070 Ti", 12, (8, 9), (80.2, 504), 4, _AD102),
    _row("RTX 4070 Ti SUPER", 16, (8, 9), (88.2, 672), 4, _AD102),
    _row("RTX 4080", 16, (8, 9), (97.5, 717), 4, _AD102),
    _row("RTX 4080 SUPER", 16, (8, 9), (104.4, 736), 4, _AD102),
    _row("RTX 4090", 24, (8, 9), (165.2, 1008), 4, _AD102, modified_gib=(48,)),
    _row("RTX 4090 D", 24, (8, 9), (147.1, 1008), 4, "NVIDIA GeForce RTX 4090 D specifications",
         modified_gib=(48,)),
    _row("L4", 24, (8, 9), (121, 300), 4, "NVIDIA L4 datasheet", inline_ecc=True),
    _row("L20", 48, (8, 9), (119.5, 864), 4, "NVIDIA L20 datasheet", inline_ecc=True),
    _row("L40", 48, (8, 9), (181, 864), 4, "NVIDIA L40 datasheet", inline_ecc=True),
    _row("L40S", 48, (8, 9), (362, 864), 4, "NVIDIA L40S datasheet", inline_ecc=True),
    _row("RTX 2000 Ada", 16, (8, 9), (48, 224), 4, "NVIDIA RTX 2000 Ada datasheet", pcie_lanes=8),
    _row("RTX 4000 Ada", 20, (8, 9), (106.9, 360), 4, "NVIDIA RTX 4000 Ada datasheet"),
    _row("RTX 4500 Ada", 24, (8, 9), (158.5, 432), 4, "NVIDIA RTX 4500 Ada datasheet"),
    _row("RTX 5000 Ada", 32, (8, 9), (261.1, 576), 4, "NVIDIA RTX 5000 Ada datasheet"),
    _row("RTX 6000 Ada", 48, (8, 9), (364.2, 960), 4, "NVIDIA RTX 6000 Ada datasheet",
         patterns=("6000", "ada6000")),
    _row("H100 SXM5", 80, (9, 0), (989.4, 3352), 5, "NVIDIA H100 datasheet", nvlink=450,
         nvlink_built_in=True, patterns=("h100", "h100sxm", "h100hbm3")),
    _row("H100 PCIe", 80, (9, 0), (756, 2039), 5, "NVIDIA H100 datasheet", nvlink=300),
    _row("H100 NVL", 94, (9, 0), (835, 3938), 5, "NVIDIA H100 NVL datasheet", nvlink=300,
         patterns_with_size=("h100",)),
    _row("H800 SXM5", 80, (9, 0), (989.4, 3352), 5, _H800, nvlink=200, nvlink_built_in=True,
         patterns=("h800", "h800sxm")),
    _row("H800 PCIe", 80, (9, 0), (756, 2039), 5, _H800, nvlink=200),
    _row("H20", 96, (9, 0), (148, 4000), 5, "NVIDIA H20 datasheet", nvlink=450,
         nvlink_built_in=True, patterns=("h20sxm", "h20sxm5")),
    _row("GH200 96GB", 96, (9, 0), (989.4, 4000), 5, _GH200, nvlink=450, nvlink_built_in=True,
         c2c_bytes_per_second=450e9),
    _row("GH200 144GB", 144, (9, 0), (989.4, 4900), 5, _GH200, nvlink=450, nvlink_built_in=True,
         c2c_bytes_per_second=450e9),
    _row("H200", 141, (9, 0), (989.4, 4800), 5, "NVIDIA H200 datasheet", nvlink=450,
         nvlink_built_in=True, patterns=("h200sxm", "h200sxm5")),
    _row("H200 NVL", 141, (9, 0), (835, 4800), 5, "NVIDIA H200 datasheet", nvlink=450),
    _row("B200", 180, (10, 0), (2250, 8000), 5, "NVIDIA HGX B200 datasheet", nvlink=900,
         nvlink_built_in=True, patterns=("b200sxm", "b200sxm6")),
    _row("GB200", 185, (10, 0), (2500, 8000), 6, "NVIDIA GB200 NVL72 datasheet", nvlink=900,
         nvlink_built_in=True, c2c_bytes_per_second=450e9),
    # The driver reports the 288 GB of the datasheet, which are decimal, as 268 GiB.
    _row("B300", 268, (10, 3), (2250, 8000), 6, "NVIDIA HGX B300 datasheet", nvlink=900,
         nvlink_built_in=True, patterns=("b300sxm", "b300sxm6", "b300sxm6ac")),
    _row("GB300", 268, (10, 3), (2500, 8000), 6, "NVIDIA GB300 NVL72 datasheet", nvlink=900,
         nvlink_built_in=True, c2c_bytes_per_second=450e9),
    # Of 128 GB that CPU and GPU share; CUDA reports 119.7 GiB. A quarter of the printed sparse
    # FP4 rate is dense FP8, half of that dense bf16.
    _row("GB10", 120, (12, 1), (125, 273), 5, "NVIDIA DGX Spark datasheet",
         patterns=("dgxspark", "spark"), shares_host_memory=True),
    _row("RTX 5060", 8, (12, 0), (38.4, 448), 5, _GB202, pcie_lanes=8),
    _row("RTX 5060 Ti", (8, 16), (12, 0), (47.4, 448), 5, _GB202, pcie_lanes=8),
    _row("RTX 5070", 12, (12, 0), (61.7, 672), 5, _GB202),
    _row("RTX 5070 Ti", 16, (12, 0), (87.9, 896), 5, _GB202),
    _row("RTX 5080", 16, (12, 0), (112.6, 960), 5, _GB202),
    _row("RTX 5090", 32, (12, 0), (209.5, 1792), 5, _GB202),
    # Of the RTX 5090's arithmetic as much as NVIDIA prints of its "AI TOPS": 2375 of 3352.
    _row("RTX 5090 D", 32, (12, 0), (148.4, 1792), 5, "NVIDIA GeForce RTX 5090 D specifications"),
    _row("RTX PRO 4000 Blackwell", 24, (12, 0), (187, 672), 5,
         "NVIDIA RTX PRO 4000 Blackwell datasheet", patterns=("pro4000",)),
    _row("RTX PRO 4500 Blackwell", 32, (12, 0), (220, 896), 5,
         "NVIDIA RTX PRO 4500 Blackwell datasheet", patterns=("pro4500",)),
    _row("RTX PRO 5000 Blackwell", 48, (12, 0), (294, 1344), 5,
         "NVIDIA RTX PRO 5000 Blackwell datasheet", patterns=("pro5000",)),
    _row("RTX PRO 6000 Blackwell", 96, (12, 0), (503.8, 1792), 5,
         "NVIDIA RTX PRO 6000 Blackwell datasheet",
         patterns=("6000", "pro6000", "6000blackwell", "pro6000blackwellworkstation")),
    _row("RTX PRO 6000 Blackwell Max-Q", 96, (12, 0), (438.9, 1792), 5,
         "NVIDIA RTX PRO 6000 Blackwell Max-Q datasheet",
         patterns=("pro6000maxq", "pro6000blackwellmaxqworkstation")),
    _row("RTX PRO 6000 Blackwell Server", 96, (12, 0), (503.8, 1597), 5,
         "NVIDIA RTX PRO 6000 Blackwell Server Edition datasheet", patterns=("pro6000server",)),
    # Laptops: other chips under the names of cards.
    _row("RTX 3050 Laptop 4GB", 4, (8, 6), (14.3, 192), 4, _LAPTOP_30, pcie_lanes=8),
    _row("RTX 3050 Laptop 6GB", 6, (8, 6), (15.3, 168), 4, _LAPTOP_30, pcie_lanes=8),
    _row("RTX 3060 Laptop", 6, (8, 6), (26.2, 336), 4, _LAPTOP_30, pcie_lanes=8),
    _row("RTX 3070 Laptop", 8, (8, 6), (33.2, 448), 4, _LAPTOP_30, pcie_lanes=8),
    _row("RTX 3070 Ti Laptop", 8, (8, 6), (34.9, 448), 4, _LAPTOP_30, pcie_lanes=8),
    _row("RTX 3080 Laptop", (8, 16), (8, 6), (42.0, 448), 4, _LAPTOP_30, pcie_lanes=8),
    _row("RTX 3080 Ti Laptop", 16, (8, 6), (47.2, 512), 4, _LAPTOP_30, pcie_lanes=8),
    _row("RTX 4050 Laptop", 6, (8, 9), (24.3, 192), 4, _LAPTOP_40, pcie_lanes=8),
    _row("RTX 4060 Laptop", 8, (8, 9), (29.1, 256), 4, _LAPTOP_40, pcie_lanes=8),
    _row("RTX 4070 Laptop", 8, (8, 9), (40.1, 256), 4, _LAPTOP_40, pcie_lanes=8),
    _row("RTX 4080 Laptop", 12, (8, 9), (67.7, 432), 4, _LAPTOP_40, pcie_lanes=8),
    _row("RTX 4090 Laptop", 16, (8, 9), (79.4, 576), 4, _LAPTOP_40, pcie_lanes=8),
    _row("RTX 5060 Laptop", 8, (12, 0), (33.2, 384), 5, _LAPTOP_50, pcie_lanes=8),
    _row("RTX 5070 Laptop", 8, (12, 0), (43.3, 384), 5, _LAPTOP_50, pcie_lanes=8),
    _row("RTX 5070 Ti Laptop", 12, (12, 0), (52.3, 672), 5, _LAPTOP_50, pcie_lanes=8),
    _row("RTX 5080 Laptop", 16, (12, 0), (70.3, 896), 5, _LAPTOP_50, pcie_lanes=8),
    _row("RTX 5090 Laptop", 24, (12, 0), (90.7, 896), 5, _LAPTOP_50, pcie_lanes=8),
)
# fmt: on
