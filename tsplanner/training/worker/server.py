"""The warm server: imports the training libraries once, then forks one worker per request.

The protocol stands in ``tsplanner/processes/warm.py``. CUDA must not be touched before a fork: a
child of a process that has started CUDA cannot use it. Whether some import did (bitsandbytes and
DeepSpeed may) is tried out once with a throw-away fork, and the server says so and ends.
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

from tsplanner.training.worker import environment_variables

WARM_IMPORTS = ("torch", "peft", "transformers.trainer", "tsplanner.training.worker.execute")
ENTRY = "tsplanner.training.worker.entry:main"
REAP_SECONDS = 0.05
"""How often ended children are looked for."""


@dataclass(slots=True, kw_only=True)
class Server:
    """Requests in, forks out."""

    answers: int
    """File descriptor that answers go to."""
    entry: str
    """``module:function``; called with the request's arguments, returns the exit status."""
    children: dict[int, int] = field(default_factory=dict)
    """Process id -> request."""
    pending: bytes = b""
    """Start of a line that has not come whole."""

    def answer(self, **content: object) -> None:
        """Write one line."""
        os.write(self.answers, json.dumps(content).encode() + b"\n")

    def serve(self) -> None:
        """Work until the parent closes its end, then kill what is left."""
        while True:
            readable, _, _ = select.select([0], [], [], REAP_SECONDS if self.children else None)
            if readable:
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
        """Fork one worker and say its process id."""
        pid = os.fork()
        if pid == 0:
            os._exit(self.child(request))
        # The child does the same: whoever comes first, its group is there before the answer is.
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)
        self.children[pid] = int(str(request["id"]))
        self.answer(id=request["id"], pid=pid)

    def reap(self) -> None:
        """Say how ended children ended."""
        for pid in list(self.children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self.answer(id=self.children.pop(pid), exit=os.waitstatus_to_exitcode(status))

    def child(self, request: dict[str, object]) -> int:
        """Run the worker in a process group and a log of its own; its exit status."""
        status = 1
        try:
            os.setpgid(0, 0)
            os.close(self.answers)
            _redirect(os.devnull, os.O_RDONLY, 0)
            _redirect(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 1, 2)
            environment = request.get("environment")
            if isinstance(environment, dict):
                os.environ.update(environment)
            arguments = request["arguments"]
            status = _guarded(_resolve(self.entry), list(arguments))  # type: ignore[call-overload]
        except BaseException:
            traceback.print_exc()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        return status


def _guarded(main: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    """Exit status of the worker, as the interpreter itself would give it."""
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
    """Function that ``module:function`` names."""
    module, _, name = entry.partition(":")
    function: Callable[[list[str]], int | None] = getattr(importlib.import_module(module), name)
    return function


def _redirect(path: str, flags: int, *descriptors: int) -> None:
    """Open a file on the given descriptors."""
    opened = os.open(path, flags, 0o644)
    for descriptor in descriptors:
        os.dup2(opened, descriptor)
    os.close(opened)


def cuda_works_after_fork() -> bool:
    """Whether a fork of this process could start CUDA; True where there is no driver at all."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(1 if ctypes.CDLL("libcuda.so.1").cuInit(0) == _NOT_INITIALIZED else 0)
        except OSError:
            os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


_NOT_INITIALIZED = 3
"""CUDA_ERROR_NOT_INITIALIZED: what cuInit answers in the child of a process that used CUDA."""


def main(arguments: list[str]) -> int:
    """Import, say ready, serve."""
    parser = argparse.ArgumentParser(prog="python -m tsplanner.training.worker.server")
    parser.add_argument("--imports", default=",".join(WARM_IMPORTS))
    parser.add_argument("--entry", default=ENTRY)
    parser.add_argument("--without", default="", help="modules to hide: importing them starts CUDA")
    options = parser.parse_args(arguments)
    # Imports may print: the protocol keeps the real stdout for itself.
    server = Server(answers=os.dup(1), entry=options.entry)
    os.set_inheritable(server.answers, False)
    os.dup2(2, 1)
    # NVML instead of CUDA for torch.cuda.is_available(), which imports ask.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    environment_variables.set_defaults()
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
