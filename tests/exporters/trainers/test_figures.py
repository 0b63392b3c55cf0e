"""What another trainer is told of weights, rows and steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    Quantization,
    changed,
)
from tests.support.exports import YAML_OF, said, written
from tests.support.golden import Case, case
from tests.support.sorts import without_dataset
from tsplanner.errors import TsplannerError
from tsplanner.exporters.trainers import adapted, figures


def with_stored(found: Case, section: dict[str, object]) -> Case:
    """The case of a folder whose weights are stored so."""
    model = found.plan.model
    config = {**model.config, "quantization_config": section}
    return Case(replace(found.plan, model=replace(model, config=config)), found.options)


def test_a_model_without_weights_asks_for_them() -> None:
    """A preset is a config.json; its trainer needs more."""
    found = case("qwen2.5-7b")
    bare = replace(found.plan, model=replace(found.plan.model, has_weights=False))
    with pytest.raises(TsplannerError, match="give --weights FOLDER"):
        written(Case(bare, found.options))
    named = replace(found.options, weights="Qwen/Qwen2.5-7B-Instruct")
    assert said(Case(bare, named))["model_name_or_path"] == "Qwen/Qwen2.5-7B-Instruct"


def test_figures_of_a_plan_are_those_that_its_worker_counts() -> None:
    """414 rows, a tenth held out: 41; 373 rows in batches of 32 are 12 steps, twice, 3 % of it."""
    plan = case("qwen2.5-7b").plan
    assert figures.held_out_rows(plan) == 41
    assert figures.warmup_steps(plan) == 1
    assert adapted.whole_alpha(plan, "TRL") == 8
    assert figures.dataset_of(plan) == "/data/alerts.jsonl"


def test_weights_that_are_stored_quantised_are_not_quantised_again() -> None:
    """The folder's own config says how; FP8 is dequantised where the trainer is told to."""
    found = case("qwen2.5-7b", quantization=Quantization.NF4_DQ)
    assert figures.rounds_base_to(found.plan) is Quantization.NF4_DQ
    stored = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    own = with_stored(found, stored)
    assert figures.rounds_base_to(own.plan) is None
    assert "load_in_4bit" not in said(own)
    eight = with_stored(case("qwen2.5-7b"), {"quant_method": "mxfp8"})
    with pytest.raises(TsplannerError, match="would load the weights in MXFP8 as they are stored"):
        written(eight)


def test_a_plan_without_dataset_has_nothing_to_train_on() -> None:
    """The sentence ends with the flag."""
    with pytest.raises(TsplannerError, match="plan again with --dataset"):
        figures.dataset_of(without_dataset())


@pytest.mark.parametrize("name", ["axolotl", "llamafactory", "trl"])
def test_a_packed_plan_says_that_its_rows_are_padded(name: str) -> None:
    """The trainer's packing would put other rows into a step, so it stays off."""
    padded = case("qwen2.5-7b")
    packed = case("qwen2.5-7b", micro_batch_size=1, token_budget=4096)
    assert "as the plan pads one row per sample" in written(padded, name)[YAML_OF[name]]
    head = written(packed, name)[YAML_OF[name]]
    batch = said(packed, name)
    size = batch.get("per_device_train_batch_size", batch.get("micro_batch_size"))
    assert size * batch["gradient_accumulation_steps"] == 32
    assert f"rows are padded here, micro-batch {size}, and the packed plan's time" in head
    assert "packing: false" in head


@pytest.mark.parametrize("name", ["qwen2.5-7b"])
def test_products_in_8_bits_are_our_own_workers_alone(name: str) -> None:
    """No other trainer makes them, and its loss would be another."""
    found = case(name)
    hardware = changed(found.plan.hardware, quantization=Quantization.FP8)
    with pytest.raises(TsplannerError, match="No other trainer multiplies a frozen base as fp8"):
        written(Case(replace(found.plan, hardware=hardware), found.options))
