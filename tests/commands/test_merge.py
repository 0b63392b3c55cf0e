"""What ``tsplanner merge`` writes, prints and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import Dtype, FinetuningType
from tests.support import tiny
from tests.support.hand_made import RECORD
from tests.support.verb import planned, run_verb
from tests.training.merging.test_client import DONE
from tsplanner.commands import merge
from tsplanner.commands.merge import (
    MergeOptions,
    compared_words,
    merged,
    size_words,
    stored_dtype,
)
from tsplanner.errors import TsplannerError
from tsplanner.planner.files import write_plan
from tsplanner.planner.plan import Plan
from tsplanner.training.merging.records import MergeRequest
from tsplanner.training.solo.recorder import write_record


def a_run(folder: Path, **changes: Any) -> tuple[Path, Plan]:
    """A run folder with a plan, an adapter and a record, none of which were trained."""
    plan = tiny.with_learning(tiny.plan(folder), **changes)
    run = folder / "run"
    (run / "adapter").mkdir(parents=True)
    (run / "adapter" / "adapter_config.json").write_text("{}")
    write_plan(plan, run / "plan.json")
    return run, plan


def rewrite(run: Path, plan: Plan) -> None:
    """Another plan in the run's folder."""
    write_plan(plan, run / "plan.json")


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> list[MergeRequest]:
    """A stand-in that writes a model's config alone; what it was asked."""
    asked: list[MergeRequest] = []

    def run(request: MergeRequest, on_stage: Callable[[str], None]) -> Any:
        asked.append(request)
        on_stage("base loaded")
        Path(request.output).mkdir()
        (Path(request.output) / "config.json").write_text("{}")
        return DONE

    monkeypatch.setattr(merge, "run_merge", run)
    return asked


def test_a_merge_is_renamed_once_it_is_whole(
    tmp_path: Path, worker: list[MergeRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the adapter, in the dtype of the base, with a card and the code that asks it."""
    run, _ = a_run(tmp_path)
    write_record(run, RECORD)
    assert merge.run(MergeOptions(run=run)) == 0
    (asked,) = worker
    assert (asked.adapter, asked.dtype) == (str(run / "adapter"), Dtype.FP32)
    assert asked.output != str(run / "merged")
    assert not Path(asked.output).exists()
    card = (run / "merged" / "README.md").read_text()
    assert "Checked: logits off by 1.00% of their size on 4 rows of the dataset" in card
    told = capsys.readouterr().out
    assert told.startswith(f"merge  {run}/adapter into tiny, fp32\n  base loaded\n")
    assert f"done   {run}/merged/   1 file of weights, 0.0 KiB\n" in told
    assert f'AutoModelForCausalLM.from_pretrained("{run}/merged", dtype="auto"' in told
    assert "serve  vLLM: `vllm serve" in told


def test_json_is_one_document(
    tmp_path: Path, worker: list[MergeRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder of an adapter stands for its run."""
    run, _ = a_run(tmp_path)
    last = run / "adapter-last"
    last.mkdir()
    (last / "adapter_config.json").write_text("{}")
    options = MergeOptions(
        run=last, output=tmp_path / "out", dtype=Dtype.BF16, cpu=True, as_json=True
    )
    assert merge.run(options) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["output"] == str(tmp_path / "out")
    assert document["model_dtype"] == "bf16"
    assert document["compared"]["difference"] == 0.01
    (asked,) = worker
    assert (asked.adapter, asked.on_cpu) == (str(last), True)
    # Without a record of the run there is no card.
    assert not (tmp_path / "out" / "README.md").exists()


def test_an_older_folder_is_replaced_only_when_asked(
    tmp_path: Path, worker: list[MergeRequest]
) -> None:
    """And only one that holds a model."""
    run, _ = a_run(tmp_path)
    output = run / "merged"
    output.mkdir()
    (output / "old").touch()
    with pytest.raises(TsplannerError, match="is there already"):
        merge.run(MergeOptions(run=run))
    with pytest.raises(TsplannerError, match="holds something else than a model"):
        merge.run(MergeOptions(run=run, force=True))
    (output / "config.json").write_text("{}")
    assert merge.run(MergeOptions(run=run, force=True)) == 0
    assert not (output / "old").exists()
    assert sorted(path.name for path in run.iterdir()) == ["adapter", "merged", "plan.json"]


def test_a_merge_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing half-written stays."""
    run, _ = a_run(tmp_path)

    def fails(request: MergeRequest, on_stage: Callable[[str], None]) -> Any:
        Path(request.output).mkdir()
        raise TsplannerError("It does not fit.")

    monkeypatch.setattr(merge, "run_merge", fails)
    output = run / "merged"
    output.mkdir()
    (output / "config.json").write_text("old")
    asked = merge.checked(MergeOptions(run=run, force=True))
    with pytest.raises(TsplannerError, match="It does not fit"):
        merged(asked)
    assert (output / "config.json").read_text() == "old"
    assert sorted(path.name for path in run.iterdir()) == ["adapter", "merged", "plan.json"]


def refusal(run: Path) -> str:
    """Why a run cannot be merged."""
    with pytest.raises(TsplannerError) as refused:
        merge.checked(MergeOptions(run=run))
    return str(refused.value)


def test_what_cannot_be_merged_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Before anything is loaded."""
    run, plan = a_run(tmp_path, finetuning_type=FinetuningType.FULL)
    assert "there is nothing to merge" in refusal(run)
    plan = tiny.with_learning(plan, finetuning_type=FinetuningType.LORA)
    rewrite(run, replace(plan, model=replace(plan.model, has_weights=False)))
    assert "was trained from random weights" in refusal(run)
    rewrite(run, replace(plan, model=replace(plan.model, path=str(tmp_path / "gone"))))
    assert f"is not in {tmp_path / 'gone'} any more" in refusal(run)
    rewrite(run, replace(plan, model=replace(plan.model, parameters_total=10**15)))
    assert "free some space" in refusal(run)
    rewrite(run, plan)
    (run / "adapter" / "adapter_config.json").unlink()
    assert "holds no adapter: the run has saved none yet" in refusal(run)
    assert "nothing is no run's folder" in refusal(tmp_path / "nothing")


def test_too_little_ram_is_said_before_the_base_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole model and some room beside it: 4 B x 2^30 and 2 GiB."""
    run, plan = a_run(tmp_path)
    rewrite(run, replace(plan, model=replace(plan.model, parameters_total=2**30)))
    monkeypatch.setattr("tsplanner.runs.require_disk_space", lambda folder, size: None)
    host = replace(plan.machine.host, available_bytes=5 * 2**30)
    monkeypatch.setattr("tsplanner.hardware.host.read_host", lambda: host)
    assert "6.00 GiB of RAM, and 5.00 GiB are free" in refusal(run)


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "bfloat16"}, Dtype.BF16),
        ({"torch_dtype": "float16"}, Dtype.FP16),
        ({"text_config": {"dtype": "float16"}}, Dtype.FP16),
        # The tiny plan trains in fp32.
        ({"dtype": "float8_e4m3fn"}, Dtype.FP32),
        ({"text_config": None}, Dtype.FP32),
    ],
)
def test_weights_are_written_as_the_base_is_stored(
    tmp_path: Path, config: dict[str, object], dtype: Dtype
) -> None:
    """Whatever it was trained in."""
    plan = tiny.plan(tmp_path)
    assert stored_dtype(replace(plan, model=replace(plan.model, config=config))) is dtype


def test_rows_that_are_not_the_datasets_are_said_to_be_random() -> None:
    """Nobody should take them for a proof on the data."""
    assert "on 4 rows of random tokens" in compared_words(
        replace(DONE.compared, from_dataset=False)
    )


def test_figures_are_said_as_they_read_best() -> None:
    """A difference of rounding alone is below what two digits show."""
    assert "logits off by less than 0.01% of" in compared_words(
        replace(DONE.compared, difference=1e-7)
    )
    assert [size_words(size) for size in (2048, 3 * 2**20, 5 * 2**30)] == [
        "2.0 KiB",
        "3.0 MiB",
        "5.0 GiB",
    ]


@pytest.mark.slow
def test_plan_train_and_merge_from_the_command_line(tmp_path: Path) -> None:
    """A run of the tiny model becomes a model that transformers loads by itself."""
    path = planned(tmp_path)
    run = tmp_path / "run"
    done = run_verb(tmp_path, "train", "--plan", str(path), "--run-folder", str(run))
    assert done.returncode == 0, done.stderr
    assert f"merge  tsplanner merge {run}" in done.stdout
    assert "PeftModel.from_pretrained" in (run / "adapter" / "README.md").read_text()
    done = run_verb(tmp_path, "merge", str(run), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["compared"]["difference"] < 1e-4
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(run / "merged")
    assert model.config.model_type == "qwen2"
