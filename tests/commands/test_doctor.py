"""``tsplanner doctor`` as a person and as a program see it."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from memory_models.device import Host
from tsplanner.commands.doctor import Purpose, add_arguments, from_arguments, run
from tsplanner.console import edges
from tsplanner.hardware.environment import EnvironmentFacts
from tsplanner.hardware.nvml import NvmlReading
from tsplanner.install import Extra, install_command

GIB = 1024**3


def facts(**versions: str) -> EnvironmentFacts:
    """A machine without a GPU and with the given libraries."""
    return EnvironmentFacts(
        python=(3, 12, 1),
        reading=NvmlReading(reason="no NVIDIA driver answers"),
        host=Host(
            total_bytes=16 * GIB, available_bytes=15 * GIB, cpu_count=4, disk_free_bytes=99 * GIB
        ),
        versions=versions,
        libraries={"torch": {"version": "2.13.0+cpu", "cuda": None, "architectures": []}},
    )


READY = facts(
    transformers="5.23.0", peft="0.21.2", accelerate="1.15.0", optuna="5.0.0", safetensors="0.6.2"
)


def test_doctor_prints_one_line_per_check_and_how_to_fix_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Missing optional parts are told with their remedy and do not fail."""
    assert run(json=False, facts=READY) == 0
    out = capsys.readouterr().out
    assert "✔ python         3.12.1\n" in out
    assert "! deepspeed      deepspeed is not installed\n" in out
    assert f"fix: for ZeRO and offload: {install_command(Extra.DEEPSPEED)}\n" in out
    assert "Ready: plan, probe, tune and train can run here." in out
    assert "\x1b" not in out


def test_doctor_fails_when_training_here_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    """What is required and missing is named at the end, and the status is 1."""
    assert run(json=False, facts=facts(transformers="5.23.0")) == 1
    out = capsys.readouterr().out
    assert "✘ peft           peft is not installed" in out
    assert "Not ready to train: fix peft, accelerate, optuna, safetensors first." in out


def test_doctor_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads the same checks, without words around them."""
    assert run(json=True, facts=READY) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["for"]) == (True, "train")
    assert document["checks"][0] == {
        "name": "python",
        "state": "ok",
        "found": "3.12.1",
        "fix": None,
        "required": True,
        "for_plans": True,
    }


def test_doctor_has_its_flags() -> None:
    """The command line knows a purpose and ``--json``."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = vars(parser.parse_args(["--json", "--for", "plan"]))
    assert given == {"json": True, "purpose": Purpose.PLAN}
    assert vars(parser.parse_args([])) == {"json": False, "purpose": None}
    assert callable(from_arguments)


def test_doctor_speaks_ascii_where_the_terminal_does() -> None:
    """A terminal without Unicode gets plain signs instead of a crash."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii")
    with contextlib.redirect_stdout(stream), edges(folds=False):
        assert run(json=False, facts=READY) == 0
        stream.flush()
    assert written.getvalue().startswith(b"+ python         3.12.1\n")


@pytest.mark.parametrize(
    ("purpose", "status", "end"),
    [
        (None, 0, "Ready to plan. To train here, too: tsplanner doctor --for train\n"),
        (Purpose.PLAN, 0, "Ready to plan. To train here, too: tsplanner doctor --for train\n"),
        (Purpose.TRAIN, 1, "Not ready to train: fix torch, transformers, peft, accelerate, "),
    ],
)
def test_an_install_for_planning_is_ready_to_plan(
    purpose: Purpose | None, status: int, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any training package, planning is what it is for; training is asked for by name."""
    bare = replace(facts(), libraries={})
    assert run(json=False, purpose=purpose, facts=bare) == status
    assert end in capsys.readouterr().out


@pytest.mark.slow
def test_doctor_runs_on_this_machine() -> None:
    """The real checks end, import no torch here, and exit 0 or 1."""
    code = (
        "import sys; from tsplanner.commands.doctor import run; status = run(json=False);"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert child.returncode in (0, 1), child.stderr.decode()
    assert "torch" in child.stdout.decode("utf-8")
