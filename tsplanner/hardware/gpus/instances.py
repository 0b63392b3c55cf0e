"""Machines by the names that clouds rent them under, such as ``p4d.24xlarge``.

To add one, add a row to ``INSTANCES``. Sources: the clouds' own pages of instance types (AWS EC2
accelerated computing, Google Compute Engine GPU machine types, Azure N series).
"""

from __future__ import annotations

from memory_models.frozen import frozen


@frozen
class Instance:
    """One type of machine of a cloud."""

    name: str
    gpus: str
    """Its cards, as ``--gpus`` takes them."""
    ram_gib: int
    cpu_count: int


def _family(gpus: str, rows: str) -> list[Instance]:
    """Types of one card; a row is ``name count RAM vCPUs``."""
    found = []
    for row in rows.strip().splitlines():
        name, count, ram, cores = row.split()
        found.append(
            Instance(name=name, gpus=f"{count}x {gpus}", ram_gib=int(ram), cpu_count=int(cores))
        )
    return found


INSTANCES: dict[str, Instance] = {
    each.name.lower(): each
    for each in (
        *_family(
            "T4",
            """
            g4dn.xlarge 1 16 4
            g4dn.2xlarge 1 32 8
            g4dn.4xlarge 1 64 16
            g4dn.8xlarge 1 128 32
            g4dn.16xlarge 1 256 64
            g4dn.12xlarge 4 192 48
            g4dn.metal 8 384 96
            Standard_NC4as_T4_v3 1 28 4
            Standard_NC8as_T4_v3 1 56 8
            Standard_NC16as_T4_v3 1 110 16
            Standard_NC64as_T4_v3 4 440 64
            """,
        ),
        *_family(
            "V100 SXM2 16GB",
            """
            p3.2xlarge 1 61 8
            p3.8xlarge 4 244 32
            p3.16xlarge 8 488 64
            """,
        ),
        *_family("V100 SXM2 32GB", "p3dn.24xlarge 8 768 96"),
        *_family(
            "V100 PCIe 16GB",
            """
            Standard_NC6s_v3 1 112 6
            Standard_NC12s_v3 2 224 12
            Standard_NC24s_v3 4 448 24
            """,
        ),
        *_family(
            "A10",
            """
            Standard_NV36ads_A10_v5 1 440 36
            Standard_NV72ads_A10_v5 2 880 72
            """,
        ),
        *_family(
            "A10G",
            """
            g5.xlarge 1 16 4
            g5.2xlarge 1 32 8
            g5.4xlarge 1 64 16
            g5.8xlarge 1 128 32
            g5.16xlarge 1 256 64
            g5.12xlarge 4 192 48
            g5.24xlarge 4 384 96
            g5.48xlarge 8 768 192
            """,
        ),
        *_family(
            "L4",
            """
            g6.xlarge 1 16 4
            g6.2xlarge 1 32 8
            g6.4xlarge 1 64 16
            g6.8xlarge 1 128 32
            g6.16xlarge 1 256 64
            g6.12xlarge 4 192 48
            g6.24xlarge 4 384 96
            g6.48xlarge 8 768 192
            g2-standard-4 1 16 4
            g2-standard-8 1 32 8
            g2-standard-12 1 48 12
            g2-standard-16 1 64 16
            g2-standard-32 1 128 32
            g2-standard-24 2 96 24
            g2-standard-48 4 192 48
            g2-standard-96 8 384 96
            """,
        ),
        *_family(
            "L40S",
            """
            g6e.xlarge 1 32 4
            g6e.2xlarge 1 64 8
            g6e.4xlarge 1 128 16
            g6e.8xlarge 1 256 32
            g6e.16xlarge 1 512 64
            g6e.12xlarge 4 384 48
            g6e.24xlarge 4 768 96
            g6e.48xlarge 8 1536 192
            """,
        ),
        *_family(
            "A100 SXM4 40GB",
            """
            p4d.24xlarge 8 1152 96
            a2-highgpu-1g 1 85 12
            a2-highgpu-2g 2 170 24
            a2-highgpu-4g 4 340 48
            a2-highgpu-8g 8 680 96
            a2-megagpu-16g 16 1360 96
            Standard_ND96asr_v4 8 900 96
            """,
        ),
        *_family(
            "A100 SXM4 80GB",
            """
            p4de.24xlarge 8 1152 96
            a2-ultragpu-1g 1 170 12
            a2-ultragpu-2g 2 340 24
            a2-ultragpu-4g 4 680 48
            a2-ultragpu-8g 8 1360 96
            Standard_ND96amsr_A100_v4 8 1900 96
            """,
        ),
        *_family(
            "A100 PCIe 80GB",
            """
            Standard_NC24ads_A100_v4 1 220 24
            Standard_NC48ads_A100_v4 2 440 48
            Standard_NC96ads_A100_v4 4 880 96
            """,
        ),
        *_family(
            "H100 SXM5",
            """
            p5.4xlarge 1 256 16
            p5.48xlarge 8 2048 192
            a3-highgpu-1g 1 234 26
            a3-highgpu-2g 2 468 52
            a3-highgpu-4g 4 936 104
            a3-highgpu-8g 8 1872 208
            a3-megagpu-8g 8 1872 208
            Standard_ND96isr_H100_v5 8 1900 96
            """,
        ),
        *_family(
            "H100 NVL",
            """
            Standard_NC40ads_H100_v5 1 320 40
            Standard_NC80adis_H100_v5 2 640 80
            """,
        ),
        *_family(
            "H200",
            """
            p5e.48xlarge 8 2048 192
            p5en.48xlarge 8 2048 192
            a3-ultragpu-8g 8 2952 224
            Standard_ND96isr_H200_v5 8 1850 96
            """,
        ),
        *_family(
            "B200",
            """
            p6-b200.48xlarge 8 2048 192
            a4-highgpu-8g 8 3968 224
            """,
        ),
        *_family("B300", "p6-b300.48xlarge 8 4096 192"),
    )
}
"""By name in small letters; clouds' GB of RAM are GiB."""


def instance_by_name(text: str) -> Instance | None:
    """The machine that a cloud rents under this name; None: no such name is known."""
    return INSTANCES.get(text.strip().lower())
