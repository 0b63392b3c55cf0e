"""LLaMA-Factory's templates and its description of a dataset."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from memory_models.settings import (
    Attention,
    Optimizer,
    changed,
)
from tests.support.golden import case
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.llamafactory.tables import (
    TEMPLATES,
    dataset_info,
    dataset_name,
    requirements,
    template_of,
)
from tsplanner.exporters.rows.form import RowsAs
from tsplanner.models.source import preset_names, read_model

MESSAGES = ExportOptions(rows=RowsAs.MESSAGES)


@pytest.mark.parametrize("preset", preset_names())
def test_every_family_of_the_table_has_a_template(preset: str) -> None:
    """By its family and vocabulary; of families without a row LLaMA-Factory parses the model's."""
    architecture = read_model(preset).architecture
    families = {family for family, _ in TEMPLATES}
    known = architecture.encoder is not None or architecture.model_type in families
    assert (template_of(architecture, MESSAGES) is not None) is known


def test_an_unknown_family_gets_no_guess() -> None:
    """The wrong words would be learned; a name that is asked for is taken."""
    odd = changed(read_model("llama-2-7b").architecture, vocab_size=77_777)
    assert template_of(odd, MESSAGES) is None
    assert template_of(odd, replace(MESSAGES, template="vicuna")) == "vicuna"
    assert len(set(TEMPLATES.values())) > 10


def test_rows_of_token_ids_are_rendered_already() -> None:
    """The template that adds nothing to the tokenizer stands for them."""
    architecture = read_model("llama-3.1-8b").architecture
    assert template_of(architecture, ExportOptions(rows=RowsAs.TOKENS)) == "empty"


def test_both_files_of_rows_are_described() -> None:
    """With the tags that the rows are written with; the rows of a plan without a held-out part
    have one file.
    """
    plan = case("qwen2.5-7b").plan
    found = json.loads(dataset_info(plan, series=False))
    assert {name: entry["file_name"] for name, entry in found.items()} == {
        "alerts": "rows/train.jsonl",
        "alerts_test": "rows/test.jsonl",
    }
    assert found["alerts"]["tags"]["function_tag"] == "function_call"
    whole = replace(plan, learning=changed(plan.learning, validation_fraction=0.0))
    (entry,) = json.loads(dataset_info(whole, series=True)).values()
    assert entry["columns"]["timeseries"] == "timeseries"


def test_a_dataset_has_no_comma_in_its_name() -> None:
    """LLaMA-Factory would part the name in two."""
    plan = case("qwen2.5-7b").plan
    for name, expected in (("a,b", "a_b"), (" ", "rows"), ("alerts", "alerts")):
        named = replace(plan, dataset=changed(plan.dataset, name=name))
        assert dataset_name(named) == expected


def test_requirements_name_what_the_plan_needs_beside_the_trainer() -> None:
    """Nothing more for LoRA; a part for each of quantisation, sharding, flash and liger."""
    plain = case("qwen2.5-7b").plan
    assert requirements(plain, plain.architecture, liger=False) == "llamafactory==0.9.5\n"
    plan = case(
        "qwen2.5-7b",
        zero_stage=2,
        optimizer=Optimizer.PAGED_ADAMW_8BIT,
        attention=Attention.FLASH_ATTENTION_2,
    ).plan
    assert requirements(plan, plan.architecture, liger=True).splitlines()[1:] == [
        "deepspeed",
        "bitsandbytes>=0.43.0",
        "flash-attn",
        "liger-kernel",
    ]
