"""``tsplanner serve`` as a person and as a program start it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.planning import environment
from tsplanner.commands.serve import run
from tsplanner.errors import TsplannerError


def test_it_says_where_the_page_is_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    """With status 0: there is no other end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tsplanner", "serve", "--json", "--port", "0"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = json.loads(process.stdout.readline())["address"]
    with urllib.request.urlopen(address, timeout=20) as answer:
        assert b"Will it fit?" in answer.read()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (0, "", "")


def test_a_port_that_is_taken_is_a_sentence() -> None:
    """With what else to try."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(TsplannerError, match=rf"Port {number} cannot .* give another --port"):
            run(number=number, opens=False, as_json=True)
