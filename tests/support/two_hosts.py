"""Two launchers of torchrun that stand for two machines, each with processes of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

SECONDS = 240


def run_on_two_hosts(module: list[str], folder: Path, *, each: int) -> str:
    """What the first machine prints; ``module``: its name and arguments, as after ``python -m``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    meet = ["--nproc-per-node", str(each), "--master-addr", "127.0.0.1", "--master-port", str(port)]
    logs = [folder / f"host-{rank}.log" for rank in range(2)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    children = []
    for rank, log in enumerate(logs):
        with log.open("wb") as out:
            command = [*launcher, *meet, "--node-rank", str(rank), "-m", *module]
            children.append(
                subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
            )
    try:
        statuses = [child.wait(timeout=SECONDS) for child in children]
    finally:
        for child in children:
            child.kill()
    text = logs[0].read_text(errors="replace")
    assert not any(statuses), text[-3000:]
    return text
