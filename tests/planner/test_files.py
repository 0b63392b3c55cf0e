"""plan.json: what was planned comes back, anything else is refused in a sentence."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import Quantization, changed, flat
from tests.support import tiny
from tests.support.rig import TURING
from tests.support.toy_request import request
from tsplanner.errors import TsplannerError
from tsplanner.models.source import preset_folder
from tsplanner.planner.explain.reasons import Explanation, Reason
from tsplanner.planner.explain.sentences import explanation_sentence
from tsplanner.planner.files import (
    find_plan,
    folder_of_plan,
    method_name,
    model_word,
    plan_document,
    plan_folder,
    read_plan,
    write_plan,
)
from tsplanner.planner.plan import SCHEMA_VERSION, Alternative, Corrections, Plan
from tsplanner.planner.rank import choose


@pytest.fixture(scope="module")
def plan() -> Plan:
    """A plan with several cards in it."""
    return choose(request("qwen2.5-14b", TURING, TURING)).plan


def refusal(path: Path) -> str:
    """The sentence that reading ends in."""
    with pytest.raises(TsplannerError) as caught:
        read_plan(path)
    return str(caught.value)


def test_a_plan_comes_back_as_it_was_written(plan: Plan, tmp_path: Path) -> None:
    """Every field, tuples and choices included, into a folder that did not exist."""
    path = write_plan(plan, tmp_path / "saves" / "model" / "plan.json")
    assert read_plan(path) == plan
    assert [found.name for found in path.parent.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_target": ("q_proj", "v_proj")},
        {"lora_alpha": 7.5, "adalora_init_rank": 12},
        {"lora_dropout": 0.25, "seed": -1},
    ],
)
def test_learning_settings_of_every_kind_come_back(
    changes: dict[str, object], plan: Plan, tmp_path: Path
) -> None:
    """Names or the word for all of them, numbers and their absence."""
    other = replace(plan, learning=changed(plan.learning, **changes))  # type: ignore[arg-type]
    assert read_plan(write_plan(other, tmp_path / "plan.json")) == other


def test_a_plan_for_the_cpu_comes_back(tmp_path: Path) -> None:
    """No device, no autocast."""
    plan = choose(request("qwen2.5-0.5b")).plan
    assert read_plan(write_plan(plan, tmp_path / "plan.json")) == plan


def test_writing_replaces_an_earlier_plan_whole(plan: Plan, tmp_path: Path) -> None:
    """The old text is gone, and no temporary file is left."""
    path = tmp_path / "plan.json"
    path.write_text("x" * 1_000_000, encoding="utf-8")
    write_plan(plan, path)
    assert read_plan(path) == plan
    assert [found.name for found in tmp_path.iterdir()] == ["plan.json"]


def test_a_missing_plan_says_how_to_make_one(tmp_path: Path) -> None:
    """The verb is named."""
    assert "is missing; make one with tsplanner plan" in refusal(tmp_path / "plan.json")


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, "1.0", None])
def test_a_plan_of_another_version_is_refused_with_both_versions(
    version: object, plan: Plan, tmp_path: Path
) -> None:
    """Nothing is guessed from a record of another shape."""
    path = tmp_path / "plan.json"
    document = {**json.loads(plan_document(plan)), "schema_version": version}
    path.write_text(json.dumps(document), encoding="utf-8")
    sentence = refusal(path)
    assert f"has schema version {version!r}, this tsplanner reads {SCHEMA_VERSION}" in sentence
    assert "plan again" in sentence


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_plan_is_refused(share: float, plan: Plan, tmp_path: Path) -> None:
    """A copy that was cut short is no plan."""
    path = tmp_path / "plan.json"
    text = plan_document(plan)
    path.write_text(text[: int(share * len(text)) - 2], encoding="utf-8")
    if share == 0.0:
        path.write_text("", encoding="utf-8")
    assert f"{path} is not a readable plan" in refusal(path)


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"model": "qwen"}', "null", '"plan"'])
def test_foreign_json_is_refused(text: str, tmp_path: Path) -> None:
    """Somebody else's JSON."""
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    assert "is not a plan of tsplanner" in refusal(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_text_or_no_end_is_refused(content: bytes, tmp_path: Path) -> None:
    """Binary files and endless brackets end in a sentence too."""
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    assert "is not a readable plan" in refusal(path)


def test_a_folder_is_no_plan(tmp_path: Path) -> None:
    """The run folder given instead of the file in it."""
    assert "is not a readable plan" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (("hardware", "kernels", "attention"), "magic", "magic"),
        (("hardware", "sharding", "world_size"), "two", "Expected `int`"),
        (("learning",), None, "learning"),
        (("learning", "method", "lora_target"), 5, "lora_target"),
        (("memory", "components"), {}, "components"),
        (("machine", "devices"), [1], "devices"),
    ],
)
def test_a_wrong_field_is_named(
    where: tuple[str, ...], value: object, says: str, plan: Plan, tmp_path: Path
) -> None:
    """The path of the field is in the sentence."""
    document = json.loads(plan_document(plan))
    inner = document
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    sentence = refusal(path)
    assert "is not a valid plan" in sentence
    assert says in sentence


def test_half_a_plan_of_version_0_1_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """What is missing is named, and nothing escapes as a bare error."""
    path = tmp_path / "plan.json"
    path.write_text('{"schema_version": 1}', encoding="utf-8")
    assert "is not a valid plan: KeyError('model'); plan again." in refusal(path)


def test_a_missing_field_is_named(plan: Plan, tmp_path: Path) -> None:
    """A plan without its hardware is no plan."""
    document = json.loads(plan_document(plan))
    del document["hardware"]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert "missing required field `hardware`" in refusal(path)


def test_a_plan_from_before_some_layers_could_be_checkpointed_means_all(
    plan: Plan, tmp_path: Path
) -> None:
    """Its hardware settings say nothing of a number."""
    plan = replace(plan, hardware=changed(plan.hardware, checkpointed_layers=None))
    document = json.loads(plan_document(plan))
    assert document["hardware"]["batch"].pop("checkpointed_layers") is None
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert read_plan(path) == plan


def as_version_1(plan: Plan) -> dict[str, Any]:
    """The document that version 0.1 would have written: flat records, other names."""
    document = json.loads(plan_document(plan))
    renamed = {
        "longest": "longest_sequence",
        "mean": "mean_sequence",
        "quantiles": "length_quantiles",
    }
    lengths = document["dataset"].pop("lengths")
    learning, hardware = flat(plan.learning), flat(plan.hardware)
    del learning["adapter_ranks"], hardware["upcast_unquantized"]
    kernels = hardware.pop("decoder_kernels")
    del document["model"]["architecture"]
    del document["alternatives"]
    return {
        **document,
        **document.pop("corrections"),
        "schema_version": 1,
        "learning": learning,
        "hardware": {**hardware, "kernels": "lean" if kernels == "fused" else kernels},
        "dataset": {
            **document["dataset"],
            **{renamed.get(key, key): value for key, value in lengths.items()},
        },
    }


def test_a_plan_of_version_1_is_read_as_the_same_plan(plan: Plan, tmp_path: Path) -> None:
    """Run folders of the release before stay readable: records were flat, kernels were lean."""
    corrected = replace(
        plan, corrections=Corrections(memory_factor=1.1, launch_factor=0.9), alternatives=()
    )
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(as_version_1(corrected)), encoding="utf-8")
    assert read_plan(path) == corrected


def test_alternatives_come_back_with_reasons_that_can_be_told(plan: Plan, tmp_path: Path) -> None:
    """Every reason of the file is a member again, and its data fill its sentence."""
    found = read_plan(write_plan(plan, tmp_path / "plan.json"))
    assert found.alternatives == plan.alternatives
    assert len(found.alternatives) > 0
    for row in found.alternatives:
        assert isinstance(row.explanation.reason, Reason)
        assert "{" not in explanation_sentence(row.explanation)


def test_a_plan_from_before_alternatives_were_kept_has_none(plan: Plan, tmp_path: Path) -> None:
    """The same version without the key is a whole plan."""
    document = json.loads(plan_document(plan))
    del document["alternatives"]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert read_plan(path) == replace(plan, alternatives=())


def test_the_newest_plan_is_found_where_none_is_named(plan: Plan, tmp_path: Path) -> None:
    """A folder stands for the plan.json in it."""
    path = write_plan(plan, tmp_path / "saves" / "model" / "plan.json")
    assert find_plan(None, tmp_path / "saves") == (plan, path)
    assert find_plan(path.parent, tmp_path) == find_plan(path, tmp_path) == (plan, path)
    with pytest.raises(TsplannerError):
        find_plan(None, tmp_path / "empty")


def test_the_method_folder_tells_a_quantised_base(plan: Plan) -> None:
    """LoRA on 4 bits is qlora; on a plain base, or one that multiplies in 8 bits, it is lora."""
    named = ((Quantization.NF4, "qlora"), (Quantization.FP8, "lora"), (None, "lora"))
    for quantization, name in named:
        hardware = changed(plan.hardware, quantization=quantization)
        assert method_name(replace(plan, hardware=hardware)) == name


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("hardware.devices", [7], "uses GPUs"),
        ("hardware.accelerator", "tpu", "is not cuda or cpu"),
        ("dataset.lengths.mean", -1.0, "mean cannot be -1"),
        ("time.total_seconds", 1e300, "no run takes"),
        ("time.step_seconds", float("nan"), "NaN is not a JSON value"),
        ("memory.process_bytes.expected", 0, "memory estimate"),
        ("hardware.batch.micro_batch_size", 2**40, "micro_batch_size must be at most"),
        ("learning.optimization.num_train_epochs", 0, "num_train_epochs must be above 0"),
        ("learning.data.validation_fraction", 2.0, "validation_fraction must be in"),
        ("model.architecture.layer.linears", [], "lacks linears that every decoder layer has"),
    ],
)
def test_a_plan_that_nobody_can_have_made_is_refused(
    plan: Plan, tmp_path: Path, place: str, value: object, says: str
) -> None:
    """Every value is of its type; together, or by their size, they are no plan."""
    path = write_plan(plan, tmp_path / "plan.json")
    document = json.loads(path.read_text())
    *holders, key = place.split(".")
    inside = document
    for name in holders:
        inside = inside[name]
    inside[key] = value
    path.write_text(json.dumps(document))
    with pytest.raises(TsplannerError, match=says):
        read_plan(path)


def named(folder: Path, path: str | None) -> Plan:
    """The tiny plan with its model at another place."""
    plan = tiny.plan(folder)
    return replace(plan, model=replace(plan.model, name="model", path=path))


def test_two_models_of_one_name_have_folders_of_their_own(tmp_path: Path) -> None:
    """a/model, b/model and a preset called model; each one planned again finds its own folder."""
    saves = tmp_path / "saves"
    models = [named(tmp_path, path) for path in ("/a/model", "/b/model", None)]
    for _ in range(2):
        folders = [folder_of_plan(saves, plan) for plan in models]
        for plan in models:
            write_plan(plan, folder_of_plan(saves, plan) / "plan.json")
    assert [folder.name for folder in folders] == ["model", "model-2", "model-3"]
    assert [read_plan(folder / "plan.json") for folder in folders] == models


def test_a_file_that_is_no_plan_may_be_replaced(tmp_path: Path) -> None:
    """The sentence on a broken plan is to plan again."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "plan.json").write_text("{")
    assert plan_folder(tmp_path, "model", "/a/model") == tmp_path / "model"


def test_the_plan_that_was_made_last_is_the_newest_whatever_the_clock_says(tmp_path: Path) -> None:
    """The first one is from the year 2040."""
    plan = tiny.plan(tmp_path)
    for name in ("first", "second"):
        write_plan(plan, tmp_path / "saves" / name / "plan.json")
        if name == "first":
            os.utime(tmp_path / "saves" / name / "plan.json", (2_208_988_800, 2_208_988_800))
    assert find_plan(None, tmp_path / "saves")[1].parent.name == "second"


def test_a_plan_with_a_path_that_no_system_can_hold_is_refused(plan: Plan, tmp_path: Path) -> None:
    """Whatever looks the path up later would end in the system's own error."""
    long = "/" + "x" * 300
    for changed_plan in (
        replace(plan, model=replace(plan.model, path=long)),
        replace(plan, model=replace(plan.model, tokenizer=long)),
        replace(plan, dataset=replace(plan.dataset, path=long)),
    ):
        path = write_plan(changed_plan, tmp_path / "plan.json")
        with pytest.raises(TsplannerError, match=r"cannot be a path .* too long") as caught:
            read_plan(path)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "path", "word"),
    [
        ("qwen2.5-7b", str(preset_folder("qwen2.5-7b")), "qwen2.5-7b"),
        ("qwen2.5-7b", None, "qwen2.5-7b"),
        # A folder that is called like a preset is not the preset.
        ("qwen2.5-7b", "/data/qwen2.5-7b", "/data/qwen2.5-7b"),
        ("my model", "/data/my model", "/data/my model"),
    ],
)
def test_a_plan_says_what_to_give_as_its_model(
    plan: Plan, name: str, path: str | None, word: str
) -> None:
    """A preset by its name, and anything else by where its files are."""
    assert model_word(replace(plan.model, name=name, path=path)) == word


def test_a_plan_of_a_bare_config_file_names_that_file(plan: Plan, tmp_path: Path) -> None:
    """Its folder has no config.json, which the folder's name would ask for."""
    (tmp_path / "small.json").write_text("{}")
    named = model_word(replace(plan.model, name="small", path=str(tmp_path)))
    assert named == str(tmp_path / "small.json")


@pytest.mark.parametrize(("on_host", "inputs"), [(True, 0), (False, None)])
def test_a_plan_from_before_inputs_were_counted_reads_as_it_was(
    tmp_path: Path, plan: Plan, on_host: bool, inputs: int | None
) -> None:
    """In the plan itself and in its alternatives a place stands for the number that it is today."""
    hardware = changed(plan.hardware, streamed_layers=4, inputs_on_device=inputs)
    other = Alternative(
        hardware=hardware,
        verdict=plan.verdict,
        process_bytes=plan.memory.process_bytes,
        relative_speed=0.9,
        explanation=Explanation(reason=Reason.MORE_COMPLEX),
    )
    streamed = replace(plan, hardware=hardware, alternatives=(other,))
    path = write_plan(streamed, tmp_path / "plan.json")
    document = json.loads(path.read_text())
    for each in (document, *document["alternatives"]):
        streaming = each["hardware"]["streaming"]
        del streaming["inputs_on_device"]
        streaming["host_checkpoints"] = on_host
    path.write_text(json.dumps(document))
    assert read_plan(path) == streamed


def test_one_number_of_streamed_layers_is_a_number_and_several_are_a_list(
    tmp_path: Path, plan: Plan
) -> None:
    """Plans of like cards are written as they always were; both come back as they were."""
    for numbers, written in ((40, 40), ((30, 40), [30, 40])):
        streamed = replace(plan, hardware=changed(plan.hardware, streamed_layers=numbers))
        path = write_plan(streamed, tmp_path / str(numbers) / "plan.json")
        streaming = json.loads(path.read_text())["hardware"]["streaming"]
        assert streaming == {
            "streamed_layers": written,
            "inputs_on_device": streamed.hardware.streaming.inputs_on_device,
            "stream_from_files": False,
            "passes_together": None,
        }
        assert read_plan(path).hardware == streamed.hardware
