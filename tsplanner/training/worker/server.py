"""The warm server: imports the training libraries once, then forks one worker per request.

``tsplanner/processes/warm.py`` describes the protocol. No import may start CUDA before a fork,
because a child of a process that has started CUDA cannot use it. bitsandbytes and DeepSpeed may
start CUDA. The server tests this once in a fork; if the test fails, it reports an error and ends.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tsplanner.own_files import PRIVATE, open_descriptor
from tsplanner.training.worker import environment_variables

# transformers loads its parts at their first use, so the trainer is named by itself.
WARM_IMPORTS = ("torch", "peft", "transformers.trainer", "tsplanner.training.worker.execute")
ENTRY = "tsplanner.training.worker.entry:main"
# A handler of SIGCHLD would report an end 50 ms sooner; trials take seconds at least.
REAP_SECONDS = 0.05
"""Interval at which the server looks for children that have ended."""


@dataclass(slots=True, kw_only=True)
class Server:
    """Reads requests and forks one worker for each."""

    answers: int
    """File descriptor of the answers."""
    entry: str
    """``module:function``; called with the request's arguments, returns the exit status."""
    children: dict[int, int] = field(default_factory=dict)
    """Process id -> number of the request."""
    pending: bytes = b""
    """Beginning of a line whose end has not been read yet."""

    def answer(self, **content: object) -> None:
        """Write one line."""
        os.write(self.answers, json.dumps(content).encode() + b"\n")

    def serve(self) -> None:
        """Serve requests until the parent closes its end of the pipe, then kill all workers."""
        while True:
            readable, _, _ = select.select([0], [], [], REAP_SECONDS if self.children else None)
            if readable:
                # A buffered stdin could hold a whole request that `select` does not see.
                chunk = os.read(0, 65536)
                if not chunk:
                    break
                *lines, self.pending = (self.pending + chunk).split(b"\n")
                for line in lines:
                    self.start(json.loads(line))
            self.reap()
        for pid in self.children:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def start(self, request: dict[str, object]) -> None:
        """Fork one worker and answer with its process id."""
        pid = os.fork()
        if pid == 0:
            # The fork must neither return into the loop of the server nor run its exit handlers.
            os._exit(self.child(request))
        # The child makes the same call. Whichever comes first, the group exists before the parent
        # gets the answer and may signal the group.
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)
        self.children[pid] = int(str(request["id"]))
        self.answer(id=request["id"], pid=pid)

    def reap(self) -> None:
        """Answer with the exit status of every child that has ended."""
        for pid in list(self.children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.answer(id=self.children.pop(pid), exit=os.waitstatus_to_exitcode(status))

    def child(self, request: dict[str, object]) -> int:
        """Run the worker with its own process group and log, and return its exit status."""
        status = 1
        try:
            os.setpgid(0, 0)
            # The parent learns of the server's death by the end of this pipe, which a fork that
            # kept the pipe open would hide.
            os.close(self.answers)
            # A fork that reads its stdin would take requests from the server.
            _redirect(os.devnull, os.O_RDONLY, 0)
            _redirect(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 1, 2)
            environment = request.get("environment")
            if isinstance(environment, dict):
                os.environ.update(environment)
            arguments = request["arguments"]
            status = _guarded(_resolve(self.entry), list(arguments))  # type: ignore[call-overload]
        except BaseException:
            traceback.print_exc()
        # `os._exit` follows, which drops what is still in the buffers.
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        return status


def _guarded(main: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    """Exit status of the worker, as the Python interpreter would set it."""
    try:
        return int(main(arguments) or 0)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        sys.stderr.write(f"{error.code}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _resolve(entry: str) -> Callable[[list[str]], int | None]:
    """The function that ``module:function`` names."""
    module, _, name = entry.partition(":")
    function: Callable[[list[str]], int | None] = getattr(importlib.import_module(module), name)
    return function


def _redirect(path: str, flags: int, *descriptors: int) -> None:
    """Open a file and put it on the given descriptors."""
    opened = open_descriptor(Path(path), flags, PRIVATE)
    for descriptor in descriptors:
        os.dup2(opened, descriptor)
    os.close(opened)


def cuda_works_after_fork() -> bool:
    """Whether a fork of this process can start CUDA; True if there is no driver."""
    pid = os.fork()
    if pid == 0:
        try:
            # The question is asked in a fork, because cuInit would start CUDA in the server itself.
            os._exit(1 if ctypes.CDLL("libcuda.so.1").cuInit(0) == _NOT_INITIALIZED else 0)
        except OSError:
            os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


_NOT_INITIALIZED = 3
"""CUDA_ERROR_NOT_INITIALIZED: the result of cuInit in the child of a process that used CUDA."""


def main(arguments: list[str]) -> int:
    """Import the libraries, answer ``ready`` and serve requests."""
    parser = argparse.ArgumentParser(prog="python -m tsplanner.training.worker.server")
    parser.add_argument("--imports", default=",".join(WARM_IMPORTS))
    parser.add_argument("--entry", default=ENTRY)
    parser.add_argument("--without", default="", help="modules to hide: importing them starts CUDA")
    options = parser.parse_args(arguments)
    # Imports may print, so stdout is redirected and only the protocol uses the original stdout.
    server = Server(answers=os.dup(1), entry=options.entry)
    os.set_inheritable(server.answers, False)
    os.dup2(2, 1)
    # Some imports call torch.cuda.is_available(), which starts CUDA unless it may ask NVML
    # (torch/cuda/__init__.py).
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    environment_variables.set_defaults()
    # Python from 3.12 on warns when a process with threads forks.
    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
    for name in filter(None, options.without.split(",")):
        sys.modules[name] = None  # type: ignore[assignment]
    for name in [*filter(None, options.imports.split(",")), options.entry.partition(":")[0]]:
        importlib.import_module(name)
    if not cuda_works_after_fork():
        server.answer(error="an import has started CUDA, so forks could not use it")
        return 0
    server.answer(ready=True)
    with suppress(BrokenPipeError):
        server.serve()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
