"""The program in processes of its own that are forks of one that has imported it already.

A start of Python and the imports take longer than most verbs work. A fork has its own folder,
environment, streams and exit status, as a program has that a shell started; what a start itself
does (encodings, missing packages, which modules a verb imports) is tested by real starts.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("tsplanner.training", "tsplanner.tracing", "tsplanner.tune", "tsplanner.commands.mcp")
"""Import what the verbs that plan do without."""


def run(
    words: tuple[str, ...], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """``tsplanner`` with these words in ``folder``; nothing is on its stdin."""
    if not hasattr(os, "fork"):
        line = [sys.executable, "-m", "tsplanner", *words]
        return subprocess.run(line, check=False, cwd=folder, env=environment, capture_output=True)
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as place:
        streams = [Path(place, "stdout"), Path(place, "stderr")]
        ask = [["tsplanner", *words], str(folder), dict(environment), [*map(str, streams)]]
        try:
            server.stdin.write(json.dumps(ask).encode() + b"\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
        except BaseException:  # a test that took too long: the next one gets a server of its own
            _end(server)
            raise
        out, error = (stream.read_bytes() for stream in streams)
    return subprocess.CompletedProcess(words, status, out, error)


def run_text(
    words: tuple[str, ...], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """The same, its streams as text."""
    done = run(words, folder, environment)
    out, error = (
        stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr)
    )
    return subprocess.CompletedProcess(words, done.returncode, out, error)


@cache
def _server() -> subprocess.Popen[bytes]:
    """The process that forks, one for each process of the tests."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forked"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[bytes]) -> None:
    _server.cache_clear()
    server.kill()
    server.wait()
    for pipe in (server.stdin, server.stdout):
        if pipe is not None:
            pipe.close()


def serve() -> None:
    """Fork once for each line, and answer with the exit status."""
    for path in sorted((ROOT / "tsplanner").rglob("[!_]*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not name.startswith(HEAVY):
            import_module(name)
    # A fork finds nothing on its stdin, and writes into neither pipe.
    asks, answers = os.fdopen(os.dup(0)), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    for line in asks:
        child = os.fork()
        if child == 0:
            os.close(answers)
            _become(*json.loads(line))
        _, status = os.waitpid(child, 0)
        os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(status))


def _become(
    words: list[str], folder: str, environment: Mapping[str, str], streams: list[str]
) -> None:
    """Be the program until it ends."""
    from tsplanner.cli import run as program

    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    program()


if __name__ == "__main__":
    serve()
