"""``tsplanner export`` as a person and as a program run it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.support import forked, tiny
from tests.support.golden import case
from tsplanner.exporters.registry import EXPORTERS
from tsplanner.planner.files import write_plan
from tsplanner.planner.gather.inputs import seen_file
from tsplanner.planner.plan import Plan
from tsplanner.training.job import Job, JobKind

ROOT = Path(__file__).resolve().parents[2]


def export(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the verb in ``folder``."""
    return forked.run_text(("export", *words), folder, os.environ)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The tiny plan, written where the verb looks for the newest."""
    found = tiny.plan(tmp_path)
    write_plan(found, tmp_path / "saves" / "tiny" / "plan.json")
    return found


def test_without_a_name_the_exporters_are_listed(tmp_path: Path) -> None:
    """Each with what it writes; no plan is needed for that."""
    done = export(tmp_path)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "torchrun",
        "accelerate",
        "deepspeed",
        "sbatch",
        "skypilot",
        "llamafactory",
        "axolotl",
        "trl",
    ]
    assert list(json.loads(export(tmp_path, "--json").stdout)) == [
        "torchrun",
        "accelerate",
        "deepspeed",
        "sbatch",
        "skypilot",
        "llamafactory",
        "axolotl",
        "trl",
    ]


def test_a_job_lies_beside_the_files_and_is_the_plan(tmp_path: Path, plan: Plan) -> None:
    """The worker runs it as it is, in the folder that it lies in, wherever that is moved."""
    done = export(tmp_path, "torchrun")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "saves" / "tiny" / "export" / "torchrun"
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", "run.sh"]
    job = msgspec.json.decode((folder / "job.json").read_bytes(), type=Job)
    assert (job.kind, job.plan, job.folder) == (JobKind.TRAIN, plan, ".")
    assert done.stdout.endswith("Next   bash saves/tiny/export/torchrun/run.sh\n")


def test_the_folder_of_the_run_and_of_the_files_are_the_users_choice(
    tmp_path: Path, plan: Plan
) -> None:
    """A name with a space is quoted in the next command."""
    done = export(tmp_path, "sbatch", "--output", "my jobs", "--run-folder", "out", "--json")
    document = json.loads(done.stdout)
    assert document["files"] == ["my jobs/train.sbatch", "my jobs/job.json"]
    assert shlex.split(document["start"])[2:] == ["my jobs", "my jobs/train.sbatch"]
    job = msgspec.json.decode((tmp_path / "my jobs" / "job.json").read_bytes(), type=Job)
    assert job.folder == str(tmp_path / "out")


def test_a_job_for_several_machines_holds_the_shared_batch(tmp_path: Path, plan: Plan) -> None:
    """4 rows a step on 2 machines are 2 a rank; the worker refuses another number of ranks."""
    hardware = replace(plan.hardware, accelerator="cuda")
    write_plan(replace(plan, hardware=hardware), tmp_path / "saves" / "tiny" / "plan.json")
    done = export(tmp_path, "torchrun", "--nodes", "2", "--output", "here")
    assert done.returncode == 0, done.stderr
    assert (
        "RDZV_ENDPOINT=FIRST_MACHINE:29400 bash here/run.sh   on each of 2 machines" in done.stdout
    )
    job = msgspec.json.decode((tmp_path / "here" / "job.json").read_bytes(), type=Job)
    found = job.plan.hardware
    assert (
        found.sharding.world_size,
        found.batch.micro_batch_size,
        found.batch.gradient_accumulation_steps,
    ) == (
        2,
        2,
        1,
    )


def test_a_command_of_ones_own_needs_no_job(tmp_path: Path, plan: Plan) -> None:
    """Ranks start those words instead of tsplanner's worker."""
    done = export(tmp_path, "torchrun", "--command", "train.py --name 'a b'", "--output", "here")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["run.sh"]
    assert "train.py --name 'a b'" in (tmp_path / "here" / "run.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("sbtach",), 2, 'no exporter "sbtach". Did you mean "sbatch"?'),
        (("torchrun", "--plan", "nope.json"), 1, "nope.json is missing"),
        (("torchrun", "--nodes", "0"), 2, "must be at least 1, not 0"),
        (("torchrun", "--nodes", "2"), 1, "leave out --nodes"),
        (("torchrun", "--command", "'"), 2, "cannot be split into words"),
        (("torchrun", "--command", " "), 2, "--command is empty"),
        (("deepspeed",), 1, "The plan shards nothing"),
        (("llamafactory", "--command", "x.py"), 2, "llamafactory runs its own trainer"),
        (("llamafactory",), 1, "chooses its precision by the GPU"),
        (("torchrun", "--output", "rows.jsonl"), 1, "rows.jsonl is not a writable directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_exported_ends_in_one_sentence(
    words: tuple[str, ...], status: int, says: str, tmp_path: Path, plan: Plan
) -> None:
    """What, where and how to fix it; nothing is written."""
    done = export(tmp_path, *words)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("run.sh"))


def without_weights(folder: Path, plan: Plan) -> None:
    """The plan of a model whose folder has no weights."""
    bare = replace(plan, model=replace(plan.model, has_weights=False))
    write_plan(bare, folder / "saves" / "tiny" / "plan.json")


def test_another_projects_trainer_asks_for_weights(tmp_path: Path, plan: Plan) -> None:
    """Nothing is written for a model that has none."""
    without_weights(tmp_path, plan)
    done = export(tmp_path, "trl")
    assert done.returncode == 1
    assert "give --weights FOLDER" in done.stderr
    assert done.stderr.count("\n") == 1


def test_weights_whose_name_is_too_long_are_refused_in_a_sentence() -> None:
    """No folder and no hub id has 300 characters; the plan is not even read."""
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", "export", "trl", "--weights", "x" * 300],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot be a path: File name too long" in done.stderr
    assert len(done.stderr) < 300


@pytest.mark.parametrize("name", ["torchrun", "accelerate", "sbatch"])
def test_a_job_that_would_train_random_weights_is_not_written(
    tmp_path: Path, plan: Plan, name: str
) -> None:
    """Unless that is meant, or each process runs a program of one's own."""
    without_weights(tmp_path, plan)
    done = export(tmp_path, name, "--output", "here")
    assert done.returncode == 1
    assert "would be trained from random weights" in done.stderr
    assert "add --random-weights" in done.stderr
    assert not (tmp_path / "here").exists()
    assert export(tmp_path, name, "--output", "here", "--random-weights").returncode == 0
    assert export(tmp_path, name, "--command", "mine.py").returncode == 0


def test_an_export_of_other_rows_than_were_planned_is_refused(tmp_path: Path, plan: Plan) -> None:
    """The forecast and the time limit are of the rows that the plan read."""
    assert plan.dataset.path is not None
    rows = Path(plan.dataset.path)
    seen = replace(plan, dataset=replace(plan.dataset, seen=seen_file(rows)))
    write_plan(seen, tmp_path / "saves" / "tiny" / "plan.json")
    assert export(tmp_path, "torchrun").returncode == 0
    tiny.write_dataset(rows, 12)
    done = export(tmp_path, "torchrun", "--output", "here")
    assert done.returncode == 1
    assert "rows.jsonl had 20 rows, now 12: plan again" in done.stderr
    assert not (tmp_path / "here").exists()
    assert export(tmp_path, "torchrun", "--force").returncode == 0


def test_a_plan_without_a_dataset_has_nothing_to_train_on(tmp_path: Path, plan: Plan) -> None:
    """A trainer of one's own may have."""
    bare = replace(plan, dataset=replace(plan.dataset, path=None))
    write_plan(bare, tmp_path / "saves" / "tiny" / "plan.json")
    done = export(tmp_path, "torchrun")
    assert done.returncode == 1
    assert "plan again with --dataset FILE" in done.stderr
    assert export(tmp_path, "torchrun", "--command", "train.py").returncode == 0


def test_another_projects_trainer_gets_no_job(tmp_path: Path, plan: Plan) -> None:
    """Weights and a folder to write to are named from where the files may be started."""
    (tmp_path / "weights").mkdir()
    done = export(
        tmp_path, "trl", "--weights", "weights", "--run-folder", "out", "--output", "here"
    )
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert names == ["accelerate.yaml", "rows", "trl.sh", "trl.yaml"]
    said = yaml.safe_load((tmp_path / "here" / "trl.yaml").read_text(encoding="utf-8"))
    assert said["model_name_or_path"] == str(tmp_path / "weights")
    assert said["output_dir"] == str(tmp_path / "out")
    assert done.stdout.endswith("Next   bash here/trl.sh\n")


def test_a_tight_export_says_so_on_the_terminal(tmp_path: Path) -> None:
    """The trainer needs more than tsplanner's own worker; the figures stand in --json, too."""
    found = case("qwen2.5-7b").plan
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "a", "input": "", "output": "b"}\n')
    found = replace(found, dataset=replace(found.dataset, path=str(rows)))
    room = EXPORTERS["trl"].room
    assert room is not None
    needed = room(found).process_bytes
    free = (needed.expected + needed.upper) // 2
    write_plan(replace(found, free_bytes=free), tmp_path / "plan.json")
    words = ("trl", "--plan", "plan.json", "--output", "here")
    done = export(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "under TRL" in line]
    assert line.startswith("! TIGHT under TRL: 34.5 GiB expected, 34.9 GiB at most (95 %), ")
    document = json.loads(export(tmp_path, *words, "--json").stdout)["room"]
    assert document["verdict"] == "tight"
    assert document["process_bytes"]["upper"] > document["free_bytes"] == free


def test_remote_code_is_said_before_it_runs(tmp_path: Path) -> None:
    """A ChatTS export for LLaMA-Factory trusts the code beside its weights."""
    chatts = case("chatts-8b", 2).plan
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"input": "a <ts><ts/>", "output": "b", "timeseries": [[1, 2]]}))
    chatts = replace(chatts, dataset=replace(chatts.dataset, path=str(rows)))
    write_plan(chatts, tmp_path / "plan.json")
    words = ("llamafactory", "--plan", "plan.json", "--output", "here")
    done = export(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "note   trust_remote_code is true" in done.stdout
    note, *rows = json.loads(export(tmp_path, *words, "--json").stdout)["notes"]
    assert note.startswith("trust_remote_code is true")
    assert rows == [
        "1 row to train on and 0 held out, as messages: those of tsplanner train",
        "no token ids, since the ChatTS fork normalises the series of a row itself and takes no "
        "token ids: the trainer renders and masks the rows itself",
        "the plan counted 414 rows, so its steps differ: plan again",
    ]


def test_rows_are_written_beside_the_files(tmp_path: Path, plan: Plan) -> None:
    """As token ids; a person may ask for dialogues, and learns what they mean."""
    done = export(tmp_path, "trl", "--output", "here", "--weights", "hub/model")
    assert done.returncode == 0, done.stderr
    assert "wrote  here/rows/train.jsonl\nwrote  here/rows/test.jsonl\n" in done.stdout
    assert "note   18 rows to train on and 2 held out, as tokens: those of" in done.stdout
    row = json.loads((tmp_path / "here/rows/train.jsonl").read_text().splitlines()[0])
    assert list(row) == ["input_ids", "attention_mask", "labels"]
    words = ("--output", "here", "--weights", "hub/model", "--rows", "messages")
    assert export(tmp_path, "trl", *words).returncode == 0
    row = json.loads((tmp_path / "here/rows/train.jsonl").read_text().splitlines()[0])
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    said = yaml.safe_load((tmp_path / "here/trl.yaml").read_text(encoding="utf-8"))
    assert said["assistant_only_loss"] is True


def test_an_unknown_form_of_rows_is_a_mistake(tmp_path: Path, plan: Plan) -> None:
    """Known forms are named."""
    done = export(tmp_path, "trl", "--rows", "parquet")
    assert done.returncode == 2
    assert "tokens" in done.stderr
    assert "messages" in done.stderr


@pytest.mark.slow
def test_what_torchrun_starts_trains_to_the_end(tmp_path: Path, plan: Plan) -> None:
    """run.sh on one machine leaves a record and an adapter beside itself."""
    assert export(tmp_path, "torchrun", "--output", "here").returncode == 0
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "here/run.sh"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "here" / "record.json").read_text(encoding="utf-8"))
    assert record["status"] == "ok"
    assert (tmp_path / "here" / "adapter" / "adapter_model.safetensors").is_file()
