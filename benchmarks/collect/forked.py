"""Processes of a run, forked from one that has imported the libraries: torchrun's variables, a log."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"


def set_allocator(cases: Sequence[Mapping[str, Any]]) -> None:
    """Run the allocator that all cases ask for, before torch is imported.

    Raises SystemExit: cases ask for different ones, or the environment names another.
    """
    asked = {bool(case.get("expandable_segments")) for case in cases}
    if len(asked) > 1:
        raise SystemExit("expandable_segments differs between the cases: give them one by one")
    wanted = f"expandable_segments:{asked == {True}}"
    if os.environ.setdefault(ALLOCATOR, wanted) != wanted:
        raise SystemExit(f"the cases ask for {wanted}, and {ALLOCATOR}={os.environ[ALLOCATOR]}")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True)
class Forked:
    """What all processes of a run have in common."""

    jobs: Sequence[str]
    """Files of the jobs that they work on, one after the other."""
    ranks: int
    folder: Path
    """Where ``log-RANK`` of each process lies."""
    visible: Sequence[int] | None = None
    """GPUs that they may see; None: all."""
    forget: Sequence[str] = ()
    """Modules that the parent kept from being imported, and that they may import."""
    port: int = field(default_factory=free_port)

    def start(self) -> list[int]:
        """Fork all of them; their process ids, by rank. Each leads a process group of its own."""
        sys.stdout.flush()
        return [self._fork(rank) for rank in range(self.ranks)]

    def _fork(self, rank: int) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setsid()
            log = os.open(
                self.folder / f"log-{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
            )
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ.update(self._variables(rank))
            for name in self.forget:
                sys.modules.pop(name, None)
            from tsplanner.training.worker.entry import main as work

            status = work(list(self.jobs))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _variables(self, rank: int) -> dict[str, str]:
        """As torchrun sets them on one machine."""
        found = {}
        if self.visible is not None:
            found["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, self.visible))
        if self.ranks > 1:
            ranks = str(self.ranks)
            found |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            found |= {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "GROUP_RANK": "0"}
            found |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.port)}
        return found
