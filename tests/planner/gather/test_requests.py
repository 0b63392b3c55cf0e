"""From names that a person gave to a request: model, rows, machine, learning settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import FinetuningType
from tests.support import tiny, toy_request
from tsplanner.datasets.records import DataSource
from tsplanner.errors import UsageError
from tsplanner.models.source import ModelSource, read_model
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.finished import finish
from tsplanner.planner.gather.inputs import seen_file
from tsplanner.planner.gather.probe_points import installed_versions, store
from tsplanner.planner.gather.requests import (
    Liberty,
    Subject,
    calibrated,
    learning_settings,
    plan_request,
    sample_dataset,
)
from tsplanner.planner.plan import no_dataset
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.calibration import probe_point
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record


@pytest.fixture(scope="module")
def source() -> ModelSource:
    """A model without an encoder."""
    return read_model("qwen2.5-0.5b")


def test_without_a_word_the_sample_of_the_tiny_model_is_planned(tmp_path: Path) -> None:
    """A newcomer needs neither a model nor a dataset."""
    request = plan_request(Subject(gpus="H200"), tmp_path)
    assert request.model.name == "tiny-chatts"
    assert request.dataset.path == str(sample_dataset().resolve())
    assert request.dataset.lengths.rows_kept > 0
    assert not request.on_cpu


def test_a_model_without_a_dataset_is_planned_at_full_length(tmp_path: Path) -> None:
    """Nothing is known of the rows, so the cutoff stands for each."""
    subject = Subject(model="qwen2.5-0.5b", gpus="2x H200", learning={"cutoff_len": 777})
    request = plan_request(subject, tmp_path)
    assert request.dataset == no_dataset(777)
    assert len(request.machine.devices) == 2
    assert request.learning.data.cutoff_len == 777


def test_rows_that_are_not_here_can_be_described(tmp_path: Path) -> None:
    """A recorded run brings the lengths of rows that nobody has any more."""
    rows = no_dataset(99)
    assert plan_request(Subject(gpus="H200", rows=rows), tmp_path).dataset is rows


def test_a_dataset_is_read_and_told_by_its_name(tmp_path: Path) -> None:
    """The rows are counted by the model's own tokenizer."""
    model = tiny.write_model(tmp_path / "model")
    (model / "model.safetensors").unlink()
    path = tiny.write_dataset(tmp_path / "rows.jsonl", rows=20)
    request = plan_request(
        Subject(model=str(model), dataset=DataSource(paths=(str(path),)), gpus="H200"),
        tmp_path / "saves",
    )
    assert request.dataset.name == "rows"
    assert request.dataset.lengths.rows_kept == 20
    assert request.dataset.lengths.counted_by == "tokenizer"
    assert request.dataset.dropped_file is None
    assert not request.model.has_weights
    assert request.dataset.seen == seen_file(path.resolve())
    names = [Path(seen.path).name for seen in request.model.files]
    assert names == ["config.json", "tokenizer.json"]


def test_weights_that_are_cut_off_are_none_and_the_reason_is_kept(tmp_path: Path) -> None:
    """A download that broke off; the whole file counts."""
    model = tiny.write_model(tmp_path / "model")
    whole = plan_request(Subject(model=str(model), gpus="H200"), tmp_path / "saves").model
    assert (whole.has_weights, whole.without_weights) == (True, None)
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    found = plan_request(Subject(model=str(model), gpus="H200"), tmp_path / "saves").model
    assert not found.has_weights
    assert str(found.without_weights).startswith("model.safetensors is cut off: it has ")


@pytest.mark.parametrize(
    ("method", "rate"), [(FinetuningType.LORA, 1e-3), (FinetuningType.FULL, 2e-5)]
)
def test_the_learning_rate_follows_the_method_unless_it_is_given(
    source: ModelSource, method: FinetuningType, rate: float
) -> None:
    """A 0.5B takes 1e-3 for adapters and 2e-5, as recipes do, for its own weights."""
    given: dict[str, object] = {"finetuning_type": method}
    found = learning_settings(given, source)
    assert found.optimization.learning_rate == pytest.approx(rate)
    asked = learning_settings(given | {"learning_rate": 5e-5}, source)
    assert asked.optimization.learning_rate == 5e-5


def test_a_plan_remembers_what_was_given(source: ModelSource) -> None:
    """A search keeps it; settings that are equal learn the same, whoever chose them."""
    found = learning_settings({"lora_rank": 8, "num_train_epochs": 1}, source)
    assert found.given == ("lora_rank", "num_train_epochs")
    assert learning_settings({}, source).given == ()
    assert found == replace(found, given=())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"lora_rank": 900}, "lora_rank 900 is above the smallest side"),
        ({"lora_target": ("c_attn",)}, '"c_attn" is no linear of qwen2'),
        ({"timeseries_lr": 1e-4}, "--timeseries-lr is for a time-series encoder"),
    ],
)
def test_learning_settings_that_the_model_cannot_have_are_refused(
    source: ModelSource, given: dict[str, Any], says: str
) -> None:
    """Before anything is planned."""
    with pytest.raises(UsageError) as caught:
        learning_settings(given, source)
    assert says in str(caught.value)


def test_an_encoders_rate_needs_a_method_that_trains_the_encoder() -> None:
    """Freeze trains the last decoder layers alone."""
    chatts = read_model("tiny-chatts")
    assert learning_settings({"timeseries_lr": 1e-4}, chatts).optimization.timeseries_lr == 1e-4
    given: dict[str, object] = {
        "timeseries_lr": 1e-4,
        "finetuning_type": FinetuningType.FREEZE,
        "freeze_trainable_layers": 1,
    }
    with pytest.raises(UsageError, match="freeze trains the last decoder"):
        learning_settings(given, chatts)


def test_a_tokenizer_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    """The missing file is named."""
    subject = Subject(gpus="H200", tokenizer=str(tmp_path))
    with pytest.raises(UsageError, match=r"has no tokenizer\.json"):
        plan_request(subject, tmp_path)


def test_a_described_machine_takes_no_correction_from_probes_of_this_one(tmp_path: Path) -> None:
    """What was measured here says nothing of cards that are elsewhere."""
    request = plan_request(Subject(gpus="H200"), tmp_path)
    assert calibrated(request, request.machine) is request


def test_only_points_that_still_count_correct_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this model and method, of these versions, within 90 days: one of four."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path))
    asked = toy_request.request("qwen2.5-0.5b", toy_request.HOPPER)
    here = replace(asked.machine, detected=True)
    plan = finish(asked, evaluate(asked, HardwareSettings()))
    point = probe_point(plan, Record(status=Status.OK, kind=JobKind.PROBE))
    point = replace(point, versions=installed_versions())
    store(point)
    store(replace(point, unix_time=0.0))
    store(replace(point, versions={**point.versions, "tsplanner": "0.0"}))
    store(replace(point, kind=replace(point.kind, architecture="another")))
    assert calibrated(asked, here).probes == (point,)
    assert asked.probes == ()


def test_a_person_may_leave_the_corrections_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--no-corrections plans as on a machine that was never probed."""
    monkeypatch.setenv("TSPLANNER_STATE", str(tmp_path))
    plain = plan_request(Subject(cpu=True), tmp_path)
    plan = finish(plain, evaluate(plain, HardwareSettings(accelerator="cpu")))
    point = probe_point(plan, Record(status=Status.OK, kind=JobKind.PROBE))
    store(replace(point, versions=installed_versions()))
    assert len(plan_request(Subject(cpu=True), tmp_path).probes) == 1
    assert (
        plan_request(Subject(cpu=True, liberty=Liberty(corrections=False)), tmp_path).probes == ()
    )
