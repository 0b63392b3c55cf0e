"""One process that has imported the training libraries already, and forks a child per request.

Importing torch, transformers and PEFT takes about 12 s; a search imports them once for all trials.
The protocol is one JSON line each way, on the server's stdin and stdout:

    {"ready": true} or {"error": "why it cannot fork"}
    {"id": 1, "arguments": ["…"], "log": "…", "environment": {}}    to the server
    {"id": 1, "pid": 4711}                                          once the child runs
    {"id": 1, "exit": 0}                                            once it ended; -n for signal n
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from tsplanner.own_files import open_log
from tsplanner.processes.run import (
    POLL_SECONDS,
    TEXT_VARIABLES,
    ProcessResult,
    process_result,
    run_process,
    unless_stopped,
    wait_until,
)
from tsplanner.processes.tree import GUARD, kill_group_remains, kill_tree

SERVER_COMMAND = (sys.executable, "-m", "tsplanner.training.worker.server")
WORKER_COMMAND = (sys.executable, "-m", "tsplanner.training.worker")

START_LIMIT_SECONDS = 180.0
"""Limit for the imports; after that children are started as ordinary processes."""
REAP_SECONDS = 5.0
"""Time in which the server says how a child ended."""

_KILLED = -9


class WarmServer:
    """Runs workers as forks of a warm process, or as ordinary processes where a fork is not safe.

    This is a context manager. Several threads may call ``run`` at the same time. Leaving the
    context, or the death of this process, ends the server and every child.
    """

    def __init__(
        self,
        command: Sequence[str] = SERVER_COMMAND,
        *,
        cold_command: Sequence[str] = WORKER_COMMAND,
        log_path: Path | None = None,
    ) -> None:
        """``log_path`` gets the output of the imports; by default the output is dropped."""
        self._command = tuple(command)
        self._cold_command = tuple(cold_command)
        self._log_path = log_path
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._cancelled: set[int] = set()
        self._closed = False
        self._server: subprocess.Popen[bytes] | None = None
        self._state = "off"
        """``off``, ``starting`` or ``ready``."""
        self._reader: threading.Thread | None = None

    def __enter__(self) -> WarmServer:
        """Start the server, which begins to import, and return at once."""
        # Windows cannot fork, and a fork is not safe once Apple's frameworks are loaded.
        if not sys.platform.startswith("linux"):
            return self
        with self._log() as log:
            self._server = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **TEXT_VARIABLES},
                # `kill_tree` and the guard signal a whole group, so the server has to lead one.
                start_new_session=True,
            )
        self._state = "starting"
        GUARD.watch(self._server.pid)
        self._reader = threading.Thread(target=self._read, args=(self._server,), daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server and its children."""
        # A thread that waits for its fork would else take the server for lost and start cold.
        self._closed = True
        server = self._server
        if server is None:
            return
        self._server, self._state = None, "off"
        kill_tree(server.pid, ended=lambda: server.poll() is not None)
        server.wait()
        with self._changed:
            running = [a["pid"] for a in self._answers.values() if "pid" in a and "exit" not in a]
        # A fork that was made while the tree was read is in no list but this one.
        for pid in running:
            kill_tree(pid, grace_seconds=0.0)
            GUARD.release(pid)
        GUARD.release(server.pid)
        if self._reader is not None:
            self._reader.join(timeout=5.0)
        for pipe in (server.stdin, server.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def run(
        self,
        arguments: Sequence[str],
        *,
        log_path: Path,
        time_limit_seconds: float | None,
        poll: Callable[[], None] | None = None,
        poll_seconds: float = POLL_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> ProcessResult:
        """Run the worker with ``arguments``; see ``run_process`` for parameters and errors.

        The time limit and the reported seconds begin with the child, not while the server still
        imports. Raises RuntimeError once the server is closed.
        """
        request = next(self._ids)
        pid = (
            None
            if self._closed
            else self._fork(request, arguments, log_path, environment, poll, poll_seconds)
        )
        if self._closed:
            # After Ctrl-C has closed the server, no thread may start another trial.
            raise RuntimeError("the warm server is closed")
        if pid is None:
            return run_process(
                [*self._cold_command, *arguments],
                log_path=log_path,
                time_limit_seconds=time_limit_seconds,
                poll=poll,
                poll_seconds=poll_seconds,
                environment=environment,
            )
        start = time.monotonic()
        try:
            timed_out = wait_until(
                lambda seconds: self._exit_code(request, seconds) is not None,
                time_limit_seconds=time_limit_seconds,
                poll=unless_stopped(pid, poll),
                poll_seconds=poll_seconds,
            )
        finally:
            if self._exit_code(request, 0.0) is None:
                kill_tree(pid, ended=lambda: self._exit_code(request, 0.0) is not None)
            # The server reaps the fork, so its answer comes a moment after the kill.
            code = self._exit_code(request, REAP_SECONDS)
            if code is None and self._server is not None:
                # A server that does not even say this stands still, and would take the next
                # request without a word, too.
                kill_tree(self._server.pid, grace_seconds=0.0)
            kill_group_remains(pid)
            GUARD.release(pid)
        seconds = time.monotonic() - start
        return process_result(
            _KILLED if code is None else code, timed_out=timed_out, seconds=seconds
        )

    def _fork(
        self,
        request: int,
        arguments: Sequence[str],
        log_path: Path,
        environment: Mapping[str, str] | None,
        poll: Callable[[], None] | None,
        poll_seconds: float,
    ) -> int | None:
        """Process id of the fork; None where no warm server could make it."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        line = {
            "id": request,
            "arguments": list(arguments),
            "log": str(log_path.absolute()),
            "environment": dict(environment or {}),
        }
        # A server that still imports is sent the request, too: the line waits in the pipe.
        if self._state == "off" or not self._send(line):
            return None
        try:
            late = wait_until(
                lambda seconds: self._wait(
                    lambda: self._state == "off" or "pid" in self._answers.get(request, {}), seconds
                ),
                time_limit_seconds=START_LIMIT_SECONDS,
                poll=poll,
                poll_seconds=poll_seconds,
            )
        except BaseException:
            # `poll` raises to give a trial up, and the fork that was asked for may not exist yet.
            self._cancel(request)
            raise
        pid = self._answers.get(request, {}).get("pid")
        if pid is None and late and self._server is not None:
            # A server that is only late would fork this request after all, beside the cold start.
            kill_tree(self._server.pid, grace_seconds=0.0)
        return int(pid) if pid is not None else None

    def _cancel(self, request: int) -> None:
        """End a fork without a caller, now or as soon as the server has made it."""
        with self._changed:
            self._cancelled.add(request)
            pid = self._answers.get(request, {}).get("pid")
        if pid is not None:
            kill_tree(pid, grace_seconds=0.0)

    def _send(self, line: dict[str, Any]) -> bool:
        """Write one whole request; False where the server has ended."""
        with self._changed:
            pipe = self._server.stdin if self._server is not None else None
            if pipe is None:
                return False
            try:
                pipe.write(json.dumps(line).encode() + b"\n")
                pipe.flush()
            except OSError:
                return False
            return True

    def _wait(self, happened: Callable[[], bool], seconds: float) -> bool:
        """Wait up to ``seconds`` until an answer makes ``happened`` true; whether it did."""
        with self._changed:
            return self._changed.wait_for(happened, timeout=seconds)

    def _exit_code(self, request: int, seconds: float) -> int | None:
        """Return code of a fork; None while it runs. Without a server the fork counts as killed."""

        def happened() -> bool:
            return self._state == "off" or "exit" in self._answers[request]

        if not self._wait(happened, seconds):
            return None
        code = self._answers[request].get("exit")
        if code is not None:
            return int(code)
        # The server would have reaped the fork and reported how it ended.
        kill_tree(self._answers[request]["pid"], grace_seconds=0.0)
        return _KILLED

    def _read(self, server: subprocess.Popen[bytes]) -> None:
        """Read answers until the server closes its end of the pipe."""
        for raw in server.stdout or ():
            # A server that was killed may leave half a line.
            with contextlib.suppress(ValueError), self._changed:
                self._take(json.loads(raw))
                self._changed.notify_all()
        with self._changed:
            self._state = "off"
            self._changed.notify_all()

    def _take(self, answer: dict[str, Any]) -> None:
        if "error" in answer:
            self._state = "off"
        elif "ready" in answer:
            self._state = "ready"
        elif "id" in answer:
            self._answers.setdefault(answer["id"], {}).update(answer)
            if "pid" in answer and "exit" not in answer:
                # The reading thread tells the guard, since a caller that gave up would never do so.
                GUARD.watch(answer["pid"])
                if answer["id"] in self._cancelled:
                    kill_tree(answer["pid"], grace_seconds=0.0)

    def _log(self) -> IO[bytes]:
        """The file for the output of the server."""
        if self._log_path is None:
            return open(os.devnull, "wb")
        return open_log(self._log_path)
