"""Files in a run folder that may come from elsewhere: nothing is written through a link in it.

Whoever passes on a run folder could otherwise have a resumed run append to any file of the user.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO

from tsplanner.errors import TsplannerError

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Windows has no such flag; making a link there takes rights of its own."""
PRIVATE = 0o600
"""Mode of logs: libraries write into them, and what they write may hold a token."""


def refuse_link(path: Path) -> None:
    """Raise TsplannerError for a file that is a symbolic link."""
    if path.is_symlink():
        raise TsplannerError(
            f"{path} is a symbolic link, and nothing is written through one: remove it, or take "
            "another folder."
        )


def refuse_links(folder: Path) -> None:
    """Raise TsplannerError for a run folder with a link in it, such as one for its checkpoints."""
    for path in sorted(folder.iterdir()):
        refuse_link(path)


def open_descriptor(path: Path, flags: int, mode: int = 0o666) -> int:
    """A descriptor of a file that is no link; the umask takes its part of ``mode``.

    Raises TsplannerError for a symbolic link, and OSError for everything else.
    """
    try:
        return os.open(path, flags | NO_LINK, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # Linux and macOS, FreeBSD
            refuse_link(path)
        raise


def open_log(path: Path) -> IO[bytes]:
    """A log to append to, for its owner's eyes; raises as ``open_descriptor``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    return os.fdopen(open_descriptor(path, flags, PRIVATE), "ab")
