"""LLaMA-Factory's templates and its description of a dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from memory_models.settings import (
    Attention,
    Optimizer,
    changed,
)
from tests.support.golden import CHATTS_ROWS, case
from tsplanner.datasets.rows.first_rows import RowsSeen
from tsplanner.errors import TsplannerError
from tsplanner.exporters.llamafactory.tables import (
    TEMPLATES,
    dataset_info,
    dataset_name,
    requirements,
    template_of,
)
from tsplanner.models.source import preset_names, read_model


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_a_template(preset: str) -> None:
    """By its family and vocabulary; of families without a row it is asked for."""
    architecture = read_model(preset).architecture
    families = {family for family, _ in TEMPLATES}
    if architecture.encoder is not None or architecture.model_type in families:
        assert template_of(architecture, None)
        return
    with pytest.raises(TsplannerError, match="give --template NAME"):
        template_of(architecture, None)


def test_an_unknown_family_asks_for_a_template() -> None:
    """Guessing would train on the wrong words."""
    odd = changed(read_model("llama-2-7b").architecture, vocab_size=77_777)
    with pytest.raises(TsplannerError, match="give --template NAME"):
        template_of(odd, None)
    assert template_of(odd, "vicuna") == "vicuna"
    assert len(set(TEMPLATES.values())) > 10


def described(rows: RowsSeen, *, series: bool = False) -> dict[str, Any]:
    """The one entry of dataset_info.json."""
    (entry,) = json.loads(dataset_info(case("qwen2.5-7b").plan, rows, "/d", series=series)).values()
    assert isinstance(entry, dict)
    return entry


def test_only_columns_that_rows_have_are_named() -> None:
    """A column that is missing would stop the trainer."""
    rows = RowsSeen(format="alpaca", columns=("instruction", "output"))
    assert described(rows)["columns"] == {"prompt": "instruction", "response": "output"}
    rows = replace(rows, columns=("instruction", "output", "system"))
    assert described(rows)["columns"]["system"] == "system"
    assert "timeseries" not in described(CHATTS_ROWS)["columns"]


def test_speakers_go_by_the_names_they_have() -> None:
    """And by one name a role."""
    rows = RowsSeen(format="messages", columns=("messages",), speakers=("assistant", "user"))
    tags = described(rows)["tags"]
    assert (tags["role_tag"], tags["user_tag"], tags["assistant_tag"]) == (
        "role",
        "user",
        "assistant",
    )
    with pytest.raises(TsplannerError, match="both human and user"):
        described(replace(rows, speakers=("gpt", "human", "user")))


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
