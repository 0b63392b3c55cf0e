"""``tsplanner.plan``: the answer of the command line, as an object."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tsplanner
from tests.support import notebook
from tests.support.planning import environment
from tests.support.planning import plan as plan_verb
from tsplanner.runs import SAVES


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and no records of this machine's probes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path / "state"))
    return tmp_path


def test_importing_imports_nothing_else() -> None:
    """A notebook that imports many packages waits for none of this one's."""
    code = "import sys, tsplanner; print([n for n in sys.modules if n.startswith('tsplanner.')])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ast.literal_eval(done.stdout) == []


def test_a_plan_in_python_imports_no_torch(folder: Path) -> None:
    """Planning stays as light as on the command line."""
    code = (
        "import sys, tsplanner; p = tsplanner.plan(model='qwen2.5-7b', gpus='H200'); "
        "p._repr_html_(); print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env=environment(folder),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n"


def test_a_call_and_its_command_line_give_the_same_document(folder: Path) -> None:
    """Keywords are the flags: numbers, switches, names with commas and pairs."""
    found = tsplanner.plan(
        model="qwen2.5-7b",
        gpus=["2x RTX 3090", "RTX 4090"],
        lora_target=["q_proj", "v_proj"],
        rank_pattern={"q_proj": 4},
        gradient_checkpointing=True,
        no_corrections=True,
        learning_rate=1e-4,
        host_memory=64,
        price_per_hour=0.5,
    )
    assert found.command == (
        "tsplanner plan --model qwen2.5-7b --gpus '2x RTX 3090' --gpus 'RTX 4090' "
        "--lora-target q_proj,v_proj --rank-pattern q_proj=4 --gradient-checkpointing on "
        "--no-corrections --learning-rate 0.0001 --host-memory 64 --price-per-hour 0.5"
    )
    import shlex

    done = plan_verb(folder, *shlex.split(found.command)[2:], "--json")
    said = json.loads(done.stdout)
    assert said.pop("path") == "saves/qwen2.5-7b/plan.json"
    mine = json.loads(found.to_json())
    assert mine.pop("path") is None
    assert mine == said
    assert mine["cost"]["price_per_hour"] == 0.5


def test_a_plan_says_what_it_is(folder: Path) -> None:
    """In one line, and by attributes that agree with the record."""
    found = tsplanner.plan(model="qwen2.5-7b", gpus="H200")
    assert repr(found).startswith("<Plan qwen2.5-7b: fits, lora r=8 on bf16 · one GPU · ")
    assert repr(found).count("\n") == 0
    assert found.fits
    assert found.verdict == "fits"
    assert found.peak_bytes == found.record.memory.process_bytes.expected
    assert found.peak_bytes < found.peak_upper_bytes <= found.record.free_bytes
    assert found.step_seconds == found.record.time.step_seconds
    assert found.total_seconds == found.record.time.total_seconds
    assert not (folder / "saves").exists()


def test_what_is_wrong_is_the_sentence_of_the_command_line() -> None:
    """As an error of one family, and never as the end of the process."""
    for given, words in (
        ({"lora_rnk": 8}, 'plan takes no "lora_rnk". Did you mean "lora_rank"?'),
        ({"json": True}, 'plan takes no "json".'),
        ({"probe": True}, 'plan takes no "probe".'),
        ({"lora_rank": "x"}, "argument --lora-rank: 'x' is not an integer"),
        ({"lora_rank": True}, "argument --lora-rank: 'on' is not an integer"),
        ({"cpu": "yes"}, "cpu must be True or False, not 'yes'."),
        ({"model": " "}, "model is empty: give it a value, or leave it out."),
        ({"dataset": []}, "dataset is empty: give it a value, or leave it out."),
        ({"gpus": "RTX 9999"}, 'unknown GPU "RTX 9999"'),
    ):
        with pytest.raises(tsplanner.UsageError) as caught:
            tsplanner.plan(**given)  # type: ignore[misc]
        assert words in str(caught.value)


def test_none_leaves_a_setting_out() -> None:
    """As a default in a function of one's own would."""
    assert tsplanner.plan(model="qwen2.5-7b", gpus="H200", lora_rank=None).command == (
        "tsplanner plan --model qwen2.5-7b --gpus H200"
    )


def test_nothing_fits_is_an_error_that_knows_why() -> None:
    """70.55 billion parameters in bf16 are 141 GB, and a full run needs a multiple of it."""
    with pytest.raises(tsplanner.NoPlanFits) as caught:
        tsplanner.plan(
            model="llama-3.1-70b", gpus="RTX 4090", finetuning_type="full", host_memory="64GiB"
        )
    assert caught.value.exit_status == 4
    assert caught.value.failure.smallest.memory.host_bytes.expected > 141e9  # type: ignore[attr-defined]


def test_a_saved_plan_is_loaded_again(folder: Path) -> None:
    """From its file, its folder, or as the newest."""
    found = tsplanner.plan(model="qwen2.5-7b", gpus="H200")
    assert found.save() == SAVES / "qwen2.5-7b" / "plan.json"
    assert found.path == SAVES / "qwen2.5-7b" / "plan.json"
    for again in (tsplanner.load(), tsplanner.load(found.path), tsplanner.load(found.path.parent)):
        assert again.record == found.record
        assert again.command is None
        assert again.to_dict() == {"plan": found.to_dict()["plan"], "path": str(found.path)}
        assert repr(again) == repr(found)
    other = folder / "other" / "mine.json"
    assert found.save(other) == other
    assert found.path == other


def test_an_export_writes_files_and_names_the_command(folder: Path) -> None:
    """The plan is stored first: a job names it."""
    found = tsplanner.plan(cpu=True)
    done = found.export("torchrun", output=folder / "job")
    assert found.path == SAVES / "tiny-chatts" / "plan.json"
    assert sorted(path.name for path in done.paths) == sorted(
        path.name for path in (folder / "job").iterdir()
    )
    assert done.start == done.to_dict()["start"]
    assert repr(done) == f"<Export of {len(done.paths)} files: {done.start}>"
    with pytest.raises(tsplanner.UsageError, match="exporter"):
        found.export("torchrn")
    with pytest.raises(tsplanner.UsageError, match='export takes no "plan"'):
        found.export("torchrun", plan="x")  # type: ignore[call-arg]


def test_the_notebook_of_the_docs_runs() -> None:
    """Every cell that shows something there shows something of the same kind today."""
    committed = notebook.read()
    today = notebook.run(committed)
    for was, now in zip(committed["cells"], today["cells"], strict=True):
        kinds = [[each["output_type"] for each in cell.get("outputs", [])] for cell in (was, now)]
        assert kinds[0] == kinds[1], was["source"]


@pytest.mark.slow
def test_a_probe_of_the_embedded_default_runs_here(folder: Path) -> None:
    """Three real steps on the CPU."""
    found = tsplanner.plan(cpu=True).probe(steps=3)
    assert found.ok
    assert found.status == "ok"
    document = found.to_dict()
    assert document == json.loads(found.to_json())
    assert document["status"] == "ok"
    assert "step" in repr(found)
    assert found._repr_html_().startswith("<pre>")
    assert (folder / "saves" / "tiny-chatts" / "plan.json").is_file()
