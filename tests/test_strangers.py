"""A plan, a model folder or a dataset from a stranger runs nothing and changes nothing."""

from __future__ import annotations

import json
import os
import re
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.support import forked, hostile, tiny
from tsplanner.cli import main
from tsplanner.exporters.registry import EXPORTERS
from tsplanner.planner.files import write_plan
from tsplanner.planner.plan import Plan
from tsplanner.trust import FLAG

RAW_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
STATUSES = {0, 1, 2, 4}
FORCED = ("--random-weights", "--force")
CAP_BYTES = 2 * 2**30
"""Address space of a planner that reads hostile files."""


def capped(
    words: tuple[str, ...], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """The program with no more memory than a planner needs."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (CAP_BYTES, CAP_BYTES))

    return subprocess.run(
        [sys.executable, "-m", "tsplanner", *words],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=120,
        preexec_fn=limit,
    )


def run(folder: Path, *words: str, cap: bool = False) -> subprocess.CompletedProcess[str]:
    """The program on hostile input: it answers with a documented status and plain characters."""
    environment = {
        **os.environ,
        "TSPLANNER_STATE": str(folder / "state"),
        "TMPDIR": str(folder),
        "HF_HUB_OFFLINE": "1",
        "HF_MODULES_CACHE": str(folder / "modules"),
    }
    if cap:
        done = capped(words, folder, environment)
    else:
        done = forked.run_text(words, folder, environment)
    assert done.returncode in STATUSES, done.stderr
    assert RAW_CONTROL.search(done.stdout + done.stderr) is None
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """As ``run``, in this process, which saves a start of Python; status and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))

    def call(*words: str) -> tuple[int, str]:
        status = main(list(words))
        said = capsys.readouterr()
        assert status in STATUSES, said.err
        assert RAW_CONTROL.search(said.out + said.err) is None
        return status, said.err

    return call


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that nobody makes."""
    return tmp_path / "marker"


def strange_plan(folder: Path, marker: Path, **names: str) -> Path:
    """A plan that claims trust, for a model folder with code and pickles in it."""
    plan = tiny.plan(folder)
    model = hostile.strange_model(folder / "strange", marker)
    config = json.loads((model / "config.json").read_text())
    changed = replace(
        plan.model,
        path=str(model),
        has_weights=True,
        config=config,
        trust_remote_code=True,
        **names,
    )
    return write_plan(replace(plan, model=changed), folder / "saves" / "strange" / "plan.json")


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--model", "strange", "--cutoff-len", "128"),
        ("estimate", "--model", "strange", "--sequence-length", "64"),
        ("probe",),
        ("export", "torchrun"),
        ("export", "trl"),
        ("report",),
    ],
    ids=" ".join,
)
def test_no_verb_runs_code_of_a_model_folder(
    words: tuple[str, ...], tmp_path: Path, marker: Path
) -> None:
    """Neither its modules nor its pickles, whatever the plan beside it claims."""
    strange_plan(tmp_path, marker)
    run(tmp_path, *words)
    assert not marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("train",),
        ("tune", "--trials", "2"),
        ("plan", "--probe", "--cpu", "--model", "strange", "--cutoff-len", "128"),
        ("estimate", "--model", "strange", "--sequence-length", "64", "--trace"),
    ],
    ids=lambda words: words[0],
)
def test_no_long_verb_runs_code_of_a_model_folder(
    words: tuple[str, ...], tmp_path: Path, marker: Path
) -> None:
    """A full run, trials that are forks of a warm server, probes in turn, a trace."""
    strange_plan(tmp_path, marker)
    assert run(tmp_path, *words).returncode == 0
    assert not marker.exists()


def test_the_flag_of_the_call_runs_it(tmp_path: Path, marker: Path) -> None:
    """Otherwise the tests above would show nothing."""
    strange_plan(tmp_path, marker)
    run(tmp_path, "probe", FLAG)
    assert marker.exists()


def test_a_job_file_that_claims_trust_runs_no_code(tmp_path: Path, marker: Path) -> None:
    """An exported job.json is started by hand, and may have been changed on its way."""
    strange_plan(tmp_path, marker)
    run(tmp_path, "export", "torchrun", "--output", "job")
    job = tmp_path / "job" / "job.json"
    document = json.loads(job.read_text())
    assert document["plan"]["model"]["trust_remote_code"] is False
    document["plan"]["model"]["trust_remote_code"] = True
    job.write_text(json.dumps(document))
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner.training.worker", "job.json"],
        check=False,
        cwd=job.parent,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not marker.exists()


def named(folder: Path, name: str) -> Plan:
    """A plan whose model, dataset and folders bear a hostile name."""
    plan = tiny.plan(folder)
    path = str(folder / name.replace("/", "_"))
    return replace(
        plan,
        model=replace(plan.model, name=name, path=path),
        dataset=replace(plan.dataset, name=name),
        machine=replace(plan.machine, name=name),
        assumptions=(name,),
    )


NUMBERS = range(len(hostile.shell_words(Path("x"))))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_hostile_name_stays_a_name_in_everything_that_is_written(
    number: int, tmp_path: Path, marker: Path, inside: Callable[..., tuple[int, str]]
) -> None:
    """Scripts parse and start nothing else, YAML reads back, pages have no tags of the name's."""
    name = hostile.shell_words(marker)[number]
    write_plan(named(tmp_path, name), tmp_path / "saves" / "x" / "plan.json")
    for exporter in EXPORTERS:
        inside("export", exporter, "--output", f"out/{exporter}", "--json", *FORCED)
    for path in (tmp_path / "out").rglob("*"):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if path.suffix in (".sh", ".sbatch"):
            subprocess.run(["bash", "-n", str(path)], check=True)
            lines = [line for line in text.splitlines() if line.startswith("#")]
            assert not any(RAW_CONTROL.search(line) for line in lines)
            assert "#SBATCH --wrap" not in text.splitlines()
        elif path.suffix in (".yaml", ".yml"):
            yaml.safe_load(text)
        elif path.suffix == ".py":
            compile(text, path.name, "exec")
    assert (tmp_path / "out" / "torchrun" / "run.sh").is_file()
    assert not marker.exists()


def test_hostile_names_stay_names_in_a_report(tmp_path: Path, marker: Path) -> None:
    """Of runs, models, datasets and messages; in both languages."""
    for number, name in enumerate(hostile.shell_words(marker)):
        folder = tmp_path / "saves" / f"m{number}" / "lora" / "20261129-1"
        write_plan(named(tmp_path, name), folder / "plan.json")
        record = {
            "status": "crashed",
            "kind": "train",
            "message": name,
            "model": name,
        }
        (folder / "record.json").write_text(json.dumps(record))
    done = run(tmp_path, "report")
    assert done.returncode == 0
    pages = list((tmp_path / "saves").glob("report*"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".html":
            assert "<script>alert" not in text
            assert "<img src=x" not in text
        else:
            assert "](javascript:" not in text.replace("\\]", "")
            assert RAW_CONTROL.search(text) is None


def test_hostile_rows_are_refused_in_plain_words(tmp_path: Path) -> None:
    """A field's name and a row's text are shown spelt out and short."""
    tiny.write_model(tmp_path / "model")
    row = {"\x1b[2J\n" + "f" * 5000: "x" * 100_000}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n")
    done = run(tmp_path, "plan", "--model", "model", "--dataset", "rows.jsonl")
    assert done.returncode in (1, 2)
    assert len(done.stderr) <= 1100
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("flag", ["--machine", "--gpus"])
@pytest.mark.parametrize("number", NUMBERS)
def test_hostile_machines_are_plain_words(
    flag: str,
    number: int,
    tmp_path: Path,
    marker: Path,
    inside: Callable[..., tuple[int, str]],
) -> None:
    """A machine file's name and keys, and a GPU's name."""
    name = hostile.shell_words(marker)[number]
    if flag == "--machine":
        path = tmp_path / "machine.yaml"
        path.write_text(json.dumps({"gpus": "2x RTX 3090", "host_memory_gib": 64, name: name}))
        status, said = inside("plan", flag, str(path))
    else:
        status, said = inside("plan", flag, name)
    assert status == 2
    assert len(said.splitlines()) == 1
    assert not marker.exists()


@pytest.mark.parametrize("levels", [3, 9, 30])
def test_a_value_nested_in_aliases_is_named_and_not_written_out(
    levels: int, tmp_path: Path
) -> None:
    """Thirty levels of ten would take more memory than there is in the world."""
    (tmp_path / "bomb.yaml").write_text(hostile.alias_bomb(levels))
    done = run(tmp_path, "plan", "--machine", "bomb.yaml", cap=True)
    assert done.returncode == 2
    assert len(done.stderr) < 400


@pytest.mark.parametrize("size", [2**62, 2**31, 100_000_000])
def test_a_header_that_claims_gigabytes_is_not_read(size: int, tmp_path: Path) -> None:
    """The planner plans by config.json within its memory; a probe does not load the file."""
    folder = tiny.write_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + b"{")
    done = run(tmp_path, "plan", "--model", "model", "--cpu", "--cutoff-len", "128", cap=True)
    assert done.returncode == 0
    assert run(tmp_path, "probe").returncode == 1
