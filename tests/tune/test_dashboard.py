"""optuna-dashboard opens a study as it is; where it is not installed this is not tested.

DASHBOARD names the program if it is in an environment of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny
from tests.support.study_worker import ended, opened

PROGRAM = os.environ.get("DASHBOARD") or shutil.which("optuna-dashboard")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="optuna-dashboard is not installed"),
]


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def fetched(port: int, path: str) -> Any:
    """A document of the dashboard's interface, as soon as it answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=10) as got:
                return json.load(got)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


@pytest.mark.parametrize("database", [False, True])
def test_dashboard_shows_trials_parameters_and_evaluations(tmp_path: Path, database: bool) -> None:
    """A journal and a database alike: states, settings, losses on the way and who ran it."""
    tiny.plan(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    url = f"sqlite:///{tmp_path / 'studies.db'}" if database else None
    study = opened(folder, url)
    first = study.ask()
    study.report(first, 2.5, 4)
    study.report(first, 2.25, 8)
    study.tell(first, ended(0, first.learning))
    study.ask()
    port = free_port()
    assert PROGRAM is not None
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    server = subprocess.Popen(
        [PROGRAM, url or str(folder / "study.journal"), "--port", str(port)],
        env=clean,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        (summary,) = fetched(port, "studies")["study_summaries"]
        trials = fetched(port, f"studies/{summary['study_id']}?after=0")["trials"]
    finally:
        server.kill()
        server.wait()
    assert [trial["state"] for trial in trials] == ["Complete", "Running"]
    parameters = {one["name"]: one["param_external_value"] for one in trials[0]["params"]}
    assert parameters == {"learning_rate": "0.005", "num_train_epochs": "3", "lora_rank": "16"}
    assert trials[0]["values"] == [1.005]
    assert [(one["step"], one["value"]) for one in trials[0]["intermediate_values"]] == [
        (4, 2.5),
        (8, 2.25),
    ]
    assert {"key": "worker", "value": study.workers.name} in trials[0]["user_attrs"]
