"""One process at a time writes into a run folder: a lock that the system frees, and a name.

The lock is on ``owner.json`` itself, so it is gone with its process, however that ends. The file
says who that is, for a sentence to a person, for hosts that share the folder without sharing locks,
and for `newest_of`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from memory_models.frozen import frozen
from tsplanner import runs
from tsplanner.console import command
from tsplanner.errors import TsplannerError
from tsplanner.folders.leftovers import DEPTH, remove_leftovers
from tsplanner.folders.newest import make_newest
from tsplanner.identity import ProcessIdentity, Silence, lives_here, this_process

OWNER_FILE = "owner.json"
HEARTBEAT_SECONDS = 10.0
GONE_SECONDS = 60.0
"""A process on another host counts as gone after so long without a heartbeat."""
LOOK_SECONDS = 1.0
"""Time between two looks at the heartbeat of a process on another host."""
SIZE = 1024
"""Bytes of the file, which is written in place in one call: a reader never sees half of it."""
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""A link in the file's place is refused: it would be written where it leads to."""


@frozen
class Owner:
    """The process that writes into a run folder, or wrote there last."""

    verb: str
    """The verb of tsplanner that works there."""
    process: ProcessIdentity
    since: float
    """When it began, seconds since 1970 by its own clock: for a person alone."""
    heartbeat: int = 0
    """A count that grows while the process lives."""
    began_ns: int = 0
    """Time of change that the file got when it was claimed, by which runs are ordered. A heartbeat
    moves that of the file itself for a moment."""
    left: bool = False
    """The process ended in good order."""

    @property
    def since_words(self) -> str:
        """When it began: the time of today, or the day as well."""
        today = time.localtime(self.since)[:3] == time.localtime()[:3]
        return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", time.localtime(self.since))

    def words(self) -> str:
        """Who it is, for the middle of a sentence."""
        process = self.process
        return (
            f"tsplanner {self.verb}, process {process.pid} on host {process.node}, "
            f"since {self.since_words}"
        )


def read_owner(folder: Path) -> Owner | None:
    """Who wrote into a folder last; None where nobody noted that, or not so that it can be read."""
    import msgspec

    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode((folder / OWNER_FILE).read_bytes(), type=Owner)
    return None


def leader_of(folder: Path) -> Owner | None:
    """The process that writes into a folder now; None if there is none.

    A process on another host is waited for up to GONE_SECONDS: only its heartbeat says that it
    lives.
    """
    silence, first = Silence(), None
    while (owner := read_owner(folder)) is not None and not owner.left:
        process = owner.process
        here = lives_here(process.host, process.pid, process.started)
        if here is not None:
            return owner if here else None
        if first not in (None, owner.heartbeat):
            return owner
        if first is None:
            sys.stderr.write(
                f"{folder} was last written by {owner.words()}: looking for up to "
                f"{GONE_SECONDS:.0f} s whether it still works.\n"
            )
        first = owner.heartbeat
        if silence.seconds(process.host, first) > GONE_SECONDS:
            return None
        time.sleep(LOOK_SECONDS)
    return None


def may_be_led(folder: Path) -> bool:
    """Whether a process may write into a folder now, without waiting for one on another host."""
    owner = read_owner(folder)
    if owner is None or owner.left:
        return False
    process = owner.process
    return lives_here(process.host, process.pid, process.started) is not False


def refuse_led(folder: Path) -> None:
    """Raise TsplannerError if a process writes into the folder now."""
    owner = leader_of(folder)
    if owner is not None:
        raise TsplannerError(_refusal(folder, owner))


def refuse_foreign(folder: Path, names: Iterable[str]) -> None:
    """Raise TsplannerError for a folder of a person's own that has files of names we write."""
    if (folder / OWNER_FILE).is_file():
        return
    for name in names:
        if os.path.lexists(folder / name):
            raise TsplannerError(
                f"{folder} holds {name}, which this run would write over: name another "
                "--run-folder, or leave it out."
            )


def _refusal(folder: Path, owner: Owner | None) -> str:
    if owner is None:
        return f"{folder} is being written by another process: wait for its end, or end it first."
    words = f"{folder} is being written by {owner.words()}: wait for its end, or end it first"
    join = f"; help it with  {command('tune', '--join', folder)}" if owner.verb == "tune" else ""
    return f"{words}{join}."


class RunFolder:
    """A run folder that this process alone writes into, until `leave` or its end."""

    def __init__(
        self, path: Path, verb: str, *, saves: Path = runs.SAVES, is_new: bool = False
    ) -> None:
        """Make the folder if it is not there, and claim it for a verb of this process.

        ``is_new``: this process has just made the folder. Raises TsplannerError, with nothing left
        behind, if another process writes there or the folder is not writable.
        """
        self.path, self._verb, self._saves = path, verb, saves
        self.made: list[Path] = [path] if is_new else []
        """Folders that this process made, the outermost first."""
        self._handle: int | None = None
        self._time_ns = 0
        self._stop = threading.Event()
        self._writing = threading.Lock()
        with runs.clear_disk_errors(path):
            self._make()
            self.before = frozenset(entry.name for entry in os.scandir(path))
            """Names that were there when the folder was claimed."""
            try:
                self._claim()
            except BaseException:
                self.undo(())
                raise
        remove_leftovers(path, DEPTH)
        threading.Thread(target=self._give_heartbeats, name="owner", daemon=True).start()

    def __enter__(self) -> Self:
        """Work in the folder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the folder to others."""
        self.leave()

    def _make(self) -> None:
        path = self.path
        missing = [path, *path.parents]
        missing = [one for one in missing if not one.exists()]
        for one in reversed(missing):
            with contextlib.suppress(FileExistsError):  # another process may make it meanwhile
                one.mkdir()
                self.made.append(one)
        path.mkdir(exist_ok=True)  # raises for a path that is no folder

    def _claim(self) -> None:
        file = self.path / OWNER_FILE
        while True:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | NO_LINK, 0o644)
            if not _locked(handle):
                os.close(handle)
                raise TsplannerError(_refusal(self.path, read_owner(self.path)))
            # A process that was refused may have removed the file between the two calls above.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(file)):
                    break
            os.close(handle)
        if os.fstat(handle).st_size and read_owner(self.path) is None:
            os.close(handle)
            raise TsplannerError(
                f"{file} is not of tsplanner, which keeps a file of that name in each run folder: "
                "move it away, or name another folder."
            )
        self._handle = handle
        # The lock holds on this host; elsewhere, and where a disk has no locks, the file says it.
        refuse_led(self.path)
        self.owner = Owner(verb=self._verb, process=this_process(), since=time.time())
        self._write()
        self._time_ns = make_newest(file, self._saves.glob(f"*/*/*/{OWNER_FILE}"))
        self.owner = replace(self.owner, began_ns=self._time_ns)
        self._write()

    def _write(self) -> None:
        with self._writing:
            if self._handle is None:
                return
            text = json.dumps(asdict(self.owner)).encode().ljust(SIZE - 1) + b"\n"
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, text)
            os.ftruncate(self._handle, len(text))
            if self._time_ns:
                # Its time says when the run was begun or resumed, not when the last heartbeat was.
                os.utime(self.path / OWNER_FILE, ns=(self._time_ns, self._time_ns))

    def _give_heartbeats(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            self.owner = replace(self.owner, heartbeat=self.owner.heartbeat + 1)
            with contextlib.suppress(OSError):  # a full disk is the run's to report
                self._write()

    def leave(self) -> None:
        """Note that this process is done, and free the lock. Never raises."""
        self._stop.set()
        # A helper that was ended meanwhile cannot clear up behind itself.
        remove_leftovers(self.path, DEPTH)
        with contextlib.suppress(OSError):
            self.owner = replace(self.owner, left=True)
            self._write()
        self._close()

    def _close(self) -> None:
        with self._writing, contextlib.suppress(OSError):
            handle, self._handle = self._handle, None
            if handle is not None:
                os.close(handle)

    def undo(self, names: tuple[str, ...]) -> None:
        """Remove what this process made: of ``names`` those that were not there, and its folders.

        Nobody else can have made one of them meanwhile, for the folder was claimed. Files of other
        origin stay, and so do the folders that hold them.
        """
        self._stop.set()
        ours = self._handle is not None
        for name in (*names, OWNER_FILE) if ours else ():
            if name not in self.before:
                _remove(self.path / name)
        self._close()
        for folder in reversed(self.made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _remove(path: Path) -> None:
    """Remove a file, or a folder and the empty folders in it."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            for inside in path.iterdir():
                if inside.is_dir():
                    _remove(inside)
            path.rmdir()
        else:
            path.unlink()


def _locked(handle: int) -> bool:
    """Whether this process now holds the lock on an open file; True where there are no locks."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: the owner's record says who writes here
        return True
    return True
