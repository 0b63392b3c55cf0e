"""Every verb in an install for planning alone: an answer, or one sentence with a command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.core_install import clean_environment, core_environment, is_possible
from tsplanner.cli import VERBS
from tsplanner.planner.files import write_plan

pytestmark = pytest.mark.skipif(not is_possible(), reason="needs an environment made of links")
INSTALL = "'tsplanner[train] @ git+https://host/tsplanner.git@abc'"
"""What the dist-info of the environment says that it came from."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of the environment."""
    return core_environment(tmp_path_factory.mktemp("core") / "venv")


def run(python: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The program in that environment, with a folder of its own."""
    return subprocess.run(
        [python, "-m", "tsplanner", *words],
        check=False,
        cwd=folder,
        env=clean_environment(TSPLANNER_STATE=str(folder / "state"), TMPDIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_no_training_package_is_in_sight(python: Path, tmp_path: Path) -> None:
    """Otherwise this file would test nothing."""
    names = ["torch", "numpy", "optuna", "transformers", "peft", "tokenizers"]
    code = f"from importlib.util import find_spec; print([find_spec(n) for n in {names}])"
    done = subprocess.run(
        [python, "-c", code], check=True, env=clean_environment(), capture_output=True, text=True
    )
    assert done.stdout.strip() == str([None] * len(names))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, python: Path, tmp_path: Path) -> None:
    """Whatever is installed."""
    done = run(python, tmp_path, verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: tsplanner {verb}")


@pytest.mark.parametrize(
    ("words", "subject"),
    [
        (("tune", "--trials", "2"), "tune"),
        (("tune", "--resume"), "tune"),
        (("tune", "--join", "saves"), "tune"),
        (("probe",), "probe"),
        (("train",), "train"),
        (("train", "--resume"), "train"),
        (("plan", "--probe"), "plan --probe"),
        (("estimate", "--model", "qwen2.5-0.5b", "--trace"), "Tracing a model"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_what_needs_torch_says_how_to_get_it(
    words: tuple[str, ...], subject: str, as_json: bool, python: Path, tmp_path: Path
) -> None:
    """Before a folder or a process is made."""
    plan = write_plan(tiny.plan(tmp_path / "data"), tmp_path / "saves" / "tiny" / "plan.json")
    before = sorted(tmp_path.rglob("*"))
    done = run(python, tmp_path, *words, *(["--json"] if as_json else []))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tsplanner: {subject} needs torch, transformers, peft, accelerate")
    assert f"uv pip install --python {python} {INSTALL}" in line
    assert not as_json or json.loads(done.stdout)["exit_status"] == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert plan.is_file()


def test_planning_works_and_so_does_what_follows_from_a_plan(python: Path, tmp_path: Path) -> None:
    """A plan, an estimate, files for a launcher, and a report without any run."""
    done = run(python, tmp_path, "plan", "--gpus", "2x RTX 3090", "--model", "tiny-chatts")
    assert done.returncode == 0, done.stderr
    done = run(python, tmp_path, "estimate", "--model", "qwen2.5-0.5b")
    assert json.loads(done.stdout)["process_bytes"]["upper"] > 0
    done = run(python, tmp_path, "export", "torchrun")
    assert done.returncode == 0, done.stderr
    assert run(python, tmp_path, "report").returncode == 0


def test_rows_are_shown_and_made_and_lengths_estimated(python: Path, tmp_path: Path) -> None:
    """Without a tokenizer library; Parquet says what it needs."""
    table = tmp_path / "pump.csv"
    table.write_text("t,flow\n1,2\n2,5\n3,1\n")
    words = ("--values", "flow", "--question", "Peak?", "--answer", "{flow_max}")
    model = ("--model", "tiny-chatts")
    done = run(python, tmp_path, "data", "pump.csv", *words, "--convert", "rows.jsonl", *model)
    assert done.returncode == 0, done.stderr
    done = run(python, tmp_path, "data", "rows.jsonl", *model)
    assert "no tokenizer: lengths estimated from characters" in done.stdout
    assert "⟦5<|im_end|>⟧" in done.stdout
    done = run(python, tmp_path, "data", "rows.jsonl", "--convert", "rows.parquet")
    assert done.returncode == 1
    assert "Parquet is written by pyarrow, which is not installed: uv pip install" in done.stderr
    assert not (tmp_path / "rows.parquet").exists()


def test_assistants_are_answered_by_an_extra_of_their_own(python: Path, tmp_path: Path) -> None:
    """One sentence on stderr, nothing that a client would take for the protocol."""
    done = run(python, tmp_path, "mcp")
    assert (done.returncode, done.stdout) == (1, "")
    assert "tsplanner: mcp needs mcp, anyio, which are not installed: uv pip inst" in done.stderr
    assert "tsplanner[mcp]" in done.stderr


def test_doctor_is_content_with_planning_and_says_what_training_needs(
    python: Path, tmp_path: Path
) -> None:
    """Status 0 for what the install is for; 1 where training is asked for."""
    done = run(python, tmp_path, "doctor")
    assert done.returncode == 0, done.stdout
    assert "Ready to plan." in done.stdout
    assert f"fix: uv pip install --python {python} {INSTALL}" in done.stdout
    done = run(python, tmp_path, "doctor", "--for", "train")
    assert done.returncode == 1
    assert "Not ready to train: fix torch, " in done.stdout


def test_a_missing_part_for_a_dataset_or_a_hub_id_names_its_extra(
    python: Path, tmp_path: Path
) -> None:
    """The hub's library is one of the optional parts."""
    done = run(python, tmp_path, "plan", "--model", "owner/name")
    assert done.returncode == 2
    assert "'tsplanner[hub] @ git+https://host/tsplanner.git@abc'" in done.stderr
