"""Run folders saves/<model>/<method>/<YYYYMMDD>-<n>/ and safe ways to write into them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from memory_models.units import format_gib
from tsplanner import __version__
from tsplanner.errors import TsplannerError
from tsplanner.folders.leftovers import temporary_name
from tsplanner.folders.newest import newest_of
from tsplanner.own_files import open_descriptor
from tsplanner.reading import decoded

SAVES = Path("saves")
PLAN_FILE = "plan.json"
PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "optuna",
    "safetensors",
    "bitsandbytes",
    "deepspeed",
    "flash-attn",
)
"""Distributions whose versions a run depends on, beside tsplanner itself."""


def slug(name: str) -> str:
    """A name as the name of one folder, without separators or a leading dot."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "unnamed"


def create_run_folder(saves: Path, model: str, method: str, *, now: float | None = None) -> Path:
    """Make the next free saves/<model>/<method>/<YYYYMMDD>-<n> and return it.

    ``mkdir`` refuses a folder that exists, so two processes never get the same folder. Raises
    TsplannerError if the folder cannot be made.
    """
    parent = saves / slug(model) / slug(method)
    day = time.strftime("%Y%m%d", time.localtime(now))
    with clear_disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        number = 1 + max((_run_number(path, day) for path in parent.iterdir()), default=0)
        while True:
            folder = parent / f"{day}-{number}"
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
                continue
            return folder


def _run_number(path: Path, day: str) -> int:
    match = re.fullmatch(rf"{day}-(\d+)", path.name)
    return int(match.group(1)) if match else 0


_NO_FOLDER = frozenset(
    {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EBUSY, errno.ENAMETOOLONG}
    | {errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.EIO}
)
"""Errors of a path that cannot be a folder, although a person gave it as one."""


class DiskError(TsplannerError):
    """A disk that is full, or a folder that cannot be written."""


@contextlib.contextmanager
def clear_disk_errors(where: Path) -> Iterator[None]:
    """Raise DiskError with one sentence for a full disk or a folder that is not writable."""
    try:
        yield
    except OSError as error:
        sentence = disk_error_sentence(error, where)
        if sentence is None:
            raise
        raise DiskError(sentence) from error


def disk_error_sentence(error: OSError, where: Path) -> str | None:
    """A sentence with a way to fix a disk error; None for an error of another kind."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk under {where} is full: free some space, or save elsewhere with --saves."
    if error.errno == errno.EFBIG:
        return f"A file under {where} reached the limit of its size: raise it (ulimit -f)."
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{where} is not writable: fix its permissions, or save elsewhere with --saves."
    if error.errno in _NO_FOLDER:
        return f"{where} is not a writable directory ({error.strerror}): name another one."
    return None


def write_text(path: Path, text: str) -> None:
    """Write the whole file or nothing, by a temporary file in the same folder and a rename."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write plain values as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write the whole file or nothing; raises TsplannerError if the disk is full."""
    with clear_disk_errors(path.parent):
        # tempfile would cost 4 ms to import.
        temporary = temporary_name(path)
        try:
            temporary.unlink(missing_ok=True)  # of a process that was killed; or a planted link
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(open_descriptor(temporary, flags), "wb") as file:
                file.write(content)
                file.flush()
                # A rename may reach the disk before the content does, and a power cut
                # would then leave an empty file.
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def append_line(path: Path, line: str) -> None:
    """Append one line in one write, so that lines of two processes never mix."""
    with clear_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open_descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(handle, (line.rstrip("\n") + "\n").encode())
        finally:
            os.close(handle)


def read_json_lines(path: Path) -> list[dict[str, object]]:
    """The objects of a JSON-lines file; lines that are damaged or cut off are left out."""
    return sound_lines(path)[0]


def sound_lines(path: Path) -> tuple[list[dict[str, object]], int]:
    """The objects of a JSON-lines file, and the number of whole lines that hold none.

    Only a line feed ends a line: a text may hold the other signs that Python takes for line ends.
    """
    rows: list[dict[str, object]] = []
    if not path.is_file():
        return rows, 0
    *lines, cut_off = path.read_bytes().split(b"\n")
    for line in (*lines, cut_off):
        with contextlib.suppress(ValueError):
            # A loss that is no number is a finding, not damage.
            row = decoded(line.decode(), finite=False)
            if isinstance(row, dict):
                rows.append(row)
    written = sum(1 for line in lines if line.strip())
    return rows, max(0, written - len(rows))


def latest_plan(saves: Path = SAVES) -> Path:
    """The newest saves/<model>/plan.json; raises TsplannerError if there is none.

    Plans in run folders do not count: such a plan is used only if the user names it.
    """
    plans = list(saves.glob(f"*/{PLAN_FILE}")) if saves.is_dir() else []
    if not plans:
        raise TsplannerError(
            f"No {PLAN_FILE} under {saves}: make one with tsplanner plan, or name one with --plan."
        )
    return newest_of(plans)[0]


def free_disk_bytes(folder: Path) -> int:
    """Free bytes on the disk of ``folder``, or of its nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    import shutil  # it brings every compression library along, and plan needs none

    return shutil.disk_usage(folder).free


def require_disk_space(folder: Path, needed_bytes: int) -> None:
    """Raise TsplannerError unless the disk of ``folder`` has ``needed_bytes`` free."""
    free = free_disk_bytes(folder)
    if free < needed_bytes:
        raise TsplannerError(
            f"{folder} has {format_gib(free, digits=1)} GiB free and this run writes up to "
            f"{format_gib(needed_bytes, digits=1)} GiB: free some space, or save elsewhere with "
            "--saves."
        )


def versions() -> dict[str, str]:
    """Versions of Python and of every installed package that a run depends on."""
    import platform
    from importlib import metadata  # both slow to import, and `plan` never asks

    # The packages' metadata is read because an import of torch takes seconds. That of a clone
    # keeps the version of the day it was installed, so tsplanner says its own.
    found = {"python": platform.python_version(), "tsplanner": __version__}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def write_versions(folder: Path) -> None:
    """Write versions.json into a run folder."""
    write_json(folder / "versions.json", versions())
