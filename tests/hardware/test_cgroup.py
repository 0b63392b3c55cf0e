"""Control groups: trees of both versions under a temporary folder."""

from __future__ import annotations

from pathlib import Path

from tsplanner.hardware.cgroup import read_limits

GIB = 1024**3


def put(folder: Path, **files: str) -> Path:
    """Write a group's files; ``memory__max`` stands for ``memory.max``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".", 1)).write_text(text + "\n")
    return folder


def member(tmp_path: Path, text: str) -> Path:
    """The list of groups that a process is in."""
    path = tmp_path / "membership"
    path.write_text(text)
    return path


def v2_root(tmp_path: Path) -> Path:
    """Top of a version 2 tree."""
    return put(tmp_path / "cgroup", cgroup__controllers="cpu memory")


def test_version_2_takes_the_tightest_limit_on_the_way_up(tmp_path: Path) -> None:
    """A job's own 32 GiB do not help inside a slice of 16."""
    root = v2_root(tmp_path)
    put(root / "slice", memory__max=str(16 * GIB), memory__current=str(4 * GIB))
    put(root / "slice/job", memory__max=str(32 * GIB), memory__current=str(3 * GIB))
    limits = read_limits(root, member(tmp_path, "0::/slice/job\n"))
    assert limits.memory_bytes == 16 * GIB
    assert limits.memory_available_bytes == 12 * GIB
    assert limits.memory_version == "cgroup v2"
    assert limits.cpus is None


def test_version_2_counts_the_fullest_level_not_only_the_tightest(tmp_path: Path) -> None:
    """Neighbours in a wide slice can leave less than the own limit says."""
    root = v2_root(tmp_path)
    put(root / "slice", memory__max=str(64 * GIB), memory__current=str(62 * GIB))
    put(root / "slice/job", memory__max=str(16 * GIB), memory__current=str(1 * GIB))
    limits = read_limits(root, member(tmp_path, "0::/slice/job\n"))
    assert limits.memory_bytes == 16 * GIB
    assert limits.memory_available_bytes == 2 * GIB


def test_version_2_counts_droppable_page_cache_as_free(tmp_path: Path) -> None:
    """Files read once and cached do not stand in the way of a model."""
    root = v2_root(tmp_path)
    put(
        root / "job",
        memory__max=str(8 * GIB),
        memory__current=str(6 * GIB),
        memory__stat=f"anon {2 * GIB}\ninactive_file {3 * GIB}\nactive_file {GIB}",
    )
    limits = read_limits(root, member(tmp_path, "0::/job\n"))
    assert limits.memory_available_bytes == 5 * GIB


def test_version_2_max_means_no_limit(tmp_path: Path) -> None:
    """An unlimited group limits nothing."""
    root = v2_root(tmp_path)
    put(root / "job", memory__max="max", memory__current="1", cpu__max="max 100000")
    limits = read_limits(root, member(tmp_path, "0::/job\n"))
    assert limits.memory_bytes is None
    assert limits.memory_available_bytes is None
    assert limits.cpus is None


def test_version_2_cpu_quota_is_in_cores(tmp_path: Path) -> None:
    """150 ms of every 100 ms are one and a half cores; the tightest level counts."""
    root = v2_root(tmp_path)
    put(root / "slice", cpu__max="400000 100000")
    put(root / "slice/job", cpu__max="150000 100000")
    assert read_limits(root, member(tmp_path, "0::/slice/job\n")).cpus == 1.5


def test_a_container_finds_its_own_root_under_a_path_of_the_host(tmp_path: Path) -> None:
    """Inside a container the listed path may be the host's, which the tree does not have."""
    root = put(v2_root(tmp_path), memory__max=str(4 * GIB), memory__current="0")
    for path in ("/kubepods/pod1/abc", "/../../other", "/"):
        limits = read_limits(root, member(tmp_path, f"0::{path}\n"))
        assert limits.memory_bytes == 4 * GIB


def test_version_1_takes_the_tightest_limit_on_the_way_up(tmp_path: Path) -> None:
    """The older tree has one hierarchy for each controller."""
    root = tmp_path / "cgroup"
    put(root / "memory", memory__limit_in_bytes="9223372036854771712")
    put(
        root / "memory/batch",
        memory__limit_in_bytes=str(10 * GIB),
        memory__usage_in_bytes=str(6 * GIB),
        memory__stat=f"inactive_file 5\ntotal_inactive_file {2 * GIB}",
    )
    put(
        root / "memory/batch/job",
        memory__limit_in_bytes="9223372036854771712",
        memory__usage_in_bytes=str(6 * GIB),
    )
    put(root / "cpu,cpuacct/batch", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
    put(root / "cpu,cpuacct/batch/job", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    listed = "4:memory:/batch/job\n3:cpu,cpuacct:/batch/job\n1:name=systemd:/x\n"
    limits = read_limits(root, member(tmp_path, listed))
    assert limits.memory_bytes == 10 * GIB
    assert limits.memory_available_bytes == 6 * GIB
    assert limits.memory_version == "cgroup v1"
    assert limits.cpus == 2.5


def test_both_versions_at_once_are_read(tmp_path: Path) -> None:
    """On a hybrid system version 2 stands under "unified" and the memory limit in version 1."""
    root = tmp_path / "cgroup"
    put(root / "unified", cgroup__controllers="")
    put(root / "memory/job", memory__limit_in_bytes=str(2 * GIB), memory__usage_in_bytes="0")
    limits = read_limits(root, member(tmp_path, "4:memory:/job\n0::/job\n"))
    assert (limits.memory_bytes, limits.memory_version) == (2 * GIB, "cgroup v1")


def test_systems_without_control_groups_have_no_limits(tmp_path: Path) -> None:
    """MacOS and Windows have neither file nor folder; nonsense in them limits nothing."""
    assert read_limits(tmp_path / "none", tmp_path / "nothing").memory_bytes is None
    root = put(v2_root(tmp_path), memory__max="plenty", cpu__max="1 0")
    limits = read_limits(root, member(tmp_path, "0::/\nnonsense\n"))
    assert (limits.memory_bytes, limits.cpus) == (None, None)
