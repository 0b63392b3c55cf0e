"""Memory and processor limits of control groups, versions 1 and 2.

A container, a batch job or a login session may have less memory than the machine: every group from
that of the process up to the root may set a limit, and the tightest limit counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from memory_models.frozen import frozen

CGROUP_ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

UNLIMITED_BYTES = 2**60
"""Version 1 writes a number above this one for "no limit"; no machine has as much memory."""


@frozen
class CgroupLimits:
    """The limits of all groups above this process together."""

    memory_bytes: int | None = None
    """Tightest limit; None: no group sets one."""
    memory_available_bytes: int | None = None
    """Smallest remainder under any limit; page cache that can be dropped counts as free."""
    cpus: float | None = None
    """Tightest quota in cores; None: no group sets one."""
    memory_version: str | None = None
    """``cgroup v1`` or ``cgroup v2``, whichever sets the memory limit."""


@frozen
class _Version:
    """The file names of one version of control groups."""

    name: str
    limit: str
    usage: str
    inactive: str


_V1 = _Version(
    name="cgroup v1",
    limit="memory.limit_in_bytes",
    usage="memory.usage_in_bytes",
    inactive="total_inactive_file",
)
_V2 = _Version(
    name="cgroup v2", limit="memory.max", usage="memory.current", inactive="inactive_file"
)


def read_limits(root: Path = CGROUP_ROOT, membership: Path = MEMBERSHIP) -> CgroupLimits:
    """Limits on this process; empty where there are no control groups. Raises nothing."""
    groups = _groups(membership)
    # A system may mount both versions at once, and either may set the limit.
    memory = [
        *((_V1, level) for level in _levels(root, groups, "memory")),
        *((_V2, level) for level in _levels(root, groups, "")),
    ]
    limits = [
        (limit, version, level) for version, level in memory if (limit := _limit(version, level))
    ]
    cpus = [
        *(_quota_v1(level) for level in _levels(root, groups, "cpu")),
        *(_quota_v2(level) for level in _levels(root, groups, "")),
    ]
    tightest = min(limits, key=lambda each: each[0], default=None)
    return CgroupLimits(
        memory_bytes=tightest[0] if tightest else None,
        # The fullest group need not be the one with the tightest limit: a parent also holds others.
        memory_available_bytes=min(
            (max(0, limit - _used(version, level)) for limit, version, level in limits),
            default=None,
        ),
        cpus=min((quota for quota in cpus if quota), default=None),
        memory_version=tightest[1].name if tightest else None,
    )


def _text(path: Path) -> str:
    """The text of a small file; empty where the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _groups(membership: Path) -> dict[str, tuple[str, str]]:
    """(Folder of the hierarchy, path of the group) by controller, which is ``""`` in version 2."""
    groups: dict[str, tuple[str, str]] = {}
    for line in _text(membership).splitlines():
        # The path of a group may hold colons itself.
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        for controller in fields[1].split(","):
            groups[controller] = (fields[1], fields[2])
    return groups


def _levels(root: Path, groups: dict[str, tuple[str, str]], controller: str) -> Iterator[Path]:
    """Folders of the groups that hold the process, from its own group up to the root.

    Inside a container the path may be that of the host while the tree is that of the container.
    The walk skips folders that do not exist and so ends at the root of the container.
    """
    if controller not in groups:
        return
    hierarchy, path = groups[controller]
    # Version 1 may mount several controllers together, in a folder named after all of them.
    tops = [root, root / "unified"] if not controller else [root / controller, root / hierarchy]
    top = next((each for each in tops if _is_top(each, controller)), None)
    if top is None:
        return
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    for depth in range(len(parts), -1, -1):
        folder = top.joinpath(*parts[:depth])
        if folder.is_dir():
            yield folder


def _is_top(folder: Path, controller: str) -> bool:
    """Whether a hierarchy starts here; version 2 marks a start by a file, version 1 by a folder."""
    return folder.is_dir() if controller else (folder / "cgroup.controllers").is_file()


def _limit(version: _Version, level: Path) -> int | None:
    """Memory limit of one group in bytes; None for "max" and for the "no limit" of version 1."""
    text = _text(level / version.limit)
    if not text.isdecimal():
        return None
    return int(text) if int(text) < UNLIMITED_BYTES else None


def _used(version: _Version, level: Path) -> int:
    """Memory of one group in bytes, without the page cache that can be dropped."""
    usage = _text(level / version.usage)
    if not usage.isdecimal():
        return 0
    for line in _text(level / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == version.inactive and value.strip().isdecimal():
            return max(0, int(usage) - int(value))
    return int(usage)


def _quota(quota: str, period: str) -> float | None:
    """Cores that a quota per period allows; None for "max" and -1, which mean no quota."""
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _quota_v1(level: Path) -> float | None:
    return _quota(_text(level / "cpu.cfs_quota_us"), _text(level / "cpu.cfs_period_us"))


def _quota_v2(level: Path) -> float | None:
    quota, _, period = _text(level / "cpu.max").partition(" ")
    return _quota(quota, period)
