"""Names of temporary files, and the removal of those that killed processes left."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

from tsplanner.identity import process_space, started_at

_OURS = re.compile(r"\..+\.(?P<pid>\d{1,10})-\d{1,10}\.(?P<host>[0-9a-f]{8})")
_EARLIER = re.compile(r"\..+\.(?:jsonl?|html|md|svg)\.(?P<pid>\d{1,10})-\d{1,10}(?P<host>)")
"""Names of earlier versions say no host, and count only beside names that we write."""
DEPTH = 3
"""Levels of folders under a run folder that hold files of ours: trials/3/, multi-lora/3/queue/."""


@functools.cache
def _host() -> str:
    return f"{zlib.crc32(process_space().encode()):08x}"


def temporary_name(path: Path) -> Path:
    """A hidden name beside ``path`` that no other living process or thread takes."""
    own = f"{os.getpid()}-{threading.get_native_id()}"
    return path.with_name(f".{path.name}.{own}.{_host()}")


def is_left(name: str) -> bool:
    """Whether a file of this name was ours and its process is gone.

    The files of other hosts that share the folder stay: nobody here knows whether their processes
    live.
    """
    found = _OURS.fullmatch(name) or _EARLIER.fullmatch(name)
    if found is None or found["host"] not in ("", _host()):
        return False
    return started_at(int(found["pid"])) is None


def remove_leftovers(folder: Path, depth: int = 0) -> list[Path]:
    """Remove what killed processes left in a folder and ``depth`` levels below it."""
    removed = []
    for path in _files(folder, depth):
        if is_left(path.name):
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _files(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        # A link is not followed: what it names may belong to somebody else.
        if entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
        elif depth and entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), depth - 1)
