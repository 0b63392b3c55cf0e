"""A plan under another project's trainer: its weights and its memory."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from memory_models.settings import (
    DecoderKernels,
    LossKernel,
    Quantization,
    changed,
)
from memory_models.units import GIB
from tests.support import tiny_vision
from tests.support.exports import YAML_OF, said, written
from tests.support.golden import CASES, Case, case
from tests.support.sorts import H200, without_dataset
from tsplanner.errors import TsplannerError
from tsplanner.exporters import trainers
from tsplanner.exporters.axolotl import running
from tsplanner.exporters.trainers import sees, target_pattern
from tsplanner.models.source import read_architecture


def test_a_model_without_weights_asks_for_them() -> None:
    """A preset is a config.json; its trainer needs more."""
    found = case("qwen2.5-7b")
    bare = replace(found.plan, model=replace(found.plan.model, has_weights=False))
    with pytest.raises(TsplannerError, match="give --weights FOLDER"):
        written(Case(bare, found.options))
    named = replace(found.options, weights="Qwen/Qwen2.5-7B-Instruct")
    assert said(Case(bare, named))["model_name_or_path"] == "Qwen/Qwen2.5-7B-Instruct"


def short_of_memory(gib: float) -> Case:
    """A micro-batch of 16 on a card with so much free."""
    found = case("qwen2.5-7b", micro_batch_size=16, gradient_checkpointing=True)
    device = replace(H200, free_bytes=int(gib * GIB))
    machine = replace(found.plan.machine, devices=(device,))
    return Case(replace(found.plan, machine=machine, free_bytes=device.free_bytes), found.options)


def test_what_no_longer_fits_is_refused_with_what_would() -> None:
    """With figures, the setting, and the way to insist."""
    with pytest.raises(TsplannerError) as caught:
        written(short_of_memory(26))
    sentence = str(caught.value)
    assert "26.0 GiB free" in sentence
    assert "plan again with --micro-batch-size" in sentence
    assert sentence.endswith("or give --force.")
    size = int(sentence.split("--micro-batch-size ")[1].split(",", maxsplit=1)[0])
    smaller = short_of_memory(26)
    hardware = changed(
        smaller.plan.hardware, micro_batch_size=size, gradient_accumulation_steps=32 // size
    )
    assert written(Case(replace(smaller.plan, hardware=hardware), smaller.options))


def test_force_exports_what_is_not_expected_to_fit() -> None:
    """And says so in the file."""
    short = short_of_memory(26)
    forced = Case(short.plan, replace(short.options, force=True))
    assert "It is not expected to fit" in written(forced)["train.yaml"]


def test_figures_of_a_plan_are_those_that_its_worker_counts() -> None:
    """414 rows, a tenth held out: 41; 373 rows in batches of 32 are 12 steps, twice, 3 % of it."""
    plan = case("qwen2.5-7b").plan
    assert trainers.held_out_rows(plan) == 41
    assert trainers.warmup_steps(plan) == 1
    assert trainers.whole_alpha(plan, "TRL") == 8
    assert trainers.dataset_of(plan) == "/data/alerts.jsonl"


def test_lora_targets_are_the_linears_of_a_decoder_layer_in_order() -> None:
    """All of them, or those that the plan names, whatever the order it names them in."""
    every = case("qwen2.5-7b")
    assert trainers.lora_targets(every.plan, every.plan.architecture) == [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ]
    two = case("qwen2.5-7b", learning={"lora_target": ("v_proj", "q_proj")})
    assert trainers.lora_targets(two.plan, two.plan.architecture) == ["q_proj", "v_proj"]


def test_copies_and_adapters_of_the_vocabulary_are_exported_by_name() -> None:
    """And what a trainer has no words for is refused."""
    saved = case("qwen2.5-7b", learning={"modules_to_save": ("lm_head",)})
    assert said(saved)["additional_target"] == "lm_head"
    thin = case("qwen2.5-7b", learning={"lora_target": ("q_proj", "embed_tokens")})
    assert trainers.lora_targets(thin.plan, thin.plan.architecture) == ["q_proj", "embed_tokens"]
    pattern = case("qwen2.5-7b", learning={"rank_pattern": (("q_proj", 4),)})
    with pytest.raises(TsplannerError, match="plan again without --rank-pattern"):
        written(pattern)


def test_weights_that_are_stored_quantised_are_not_quantised_again() -> None:
    """The folder's own config says how; FP8 is dequantised where the trainer is told to."""
    found = case("qwen2.5-7b", quantization=Quantization.NF4_DQ)
    assert trainers.rounds_base_to(found.plan) is Quantization.NF4_DQ
    stored = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    own = with_stored(found, stored)
    assert trainers.rounds_base_to(own.plan) is None
    assert "load_in_4bit" not in said(own)
    eight = with_stored(case("qwen2.5-7b"), {"quant_method": "mxfp8"})
    with pytest.raises(TsplannerError, match="would load the weights in MXFP8 as they are stored"):
        written(eight)


def with_stored(found: Case, section: dict[str, object]) -> Case:
    """The case of a folder whose weights are stored so."""
    model = found.plan.model
    config = {**model.config, "quantization_config": section}
    return Case(replace(found.plan, model=replace(model, config=config)), found.options)


def test_an_alpha_that_is_no_whole_number_is_refused_by_name() -> None:
    """LoRA scales by alpha / rank; those trainers take integers."""
    half = case("qwen2.5-7b", learning={"lora_alpha": 4.5}).plan
    with pytest.raises(TsplannerError, match=r"TRL takes whole numbers for lora_alpha, not 4\.5"):
        trainers.whole_alpha(half, "TRL")


def test_a_plan_without_dataset_has_nothing_to_train_on() -> None:
    """The sentence ends with the flag."""
    with pytest.raises(TsplannerError, match="plan again with --dataset"):
        trainers.dataset_of(without_dataset())


def test_differences_are_those_kernels_and_switches_that_a_trainer_lacks() -> None:
    """A plan on reference kernels with all logits runs there as planned."""
    plain = case("qwen2.5-7b").plan
    under = running(plain, plain.architecture)
    assert trainers.differences(plain, under) == []
    fused = case(
        "qwen2.5-7b",
        loss_kernel=LossKernel.FUSED,
        kernels=DecoderKernels.FUSED,
        gradient_checkpointing=True,
        checkpointed_layers=4,
    ).plan
    found = trainers.differences(fused, replace(under, loss_kernel=LossKernel.PLAIN))
    assert len(found) == 3
    assert found[1] == "tsplanner's fused loss is its own: all logits are kept instead."
    assert found[2].endswith("all are checkpointed.")


def test_a_streamed_plan_says_that_a_trainer_keeps_the_base_on_the_gpu() -> None:
    """Its memory is sized so, and the plan's first line speaks of streamed layers."""
    streamed = case("qwen2.5-7b", streamed_layers=20, gradient_checkpointing=True).plan
    found = trainers.differences(streamed, running(streamed, streamed.architecture))
    assert found == ["tsplanner's streamed layers are its own: the whole base is on the GPU."]


def test_a_streamed_plan_whose_base_another_trainer_has_no_room_for_is_told_how_to_plan() -> None:
    """15 GiB of weights on 10 GiB, whatever the micro-batch."""
    made = case("qwen2.5-7b", streamed_layers=28, gradient_checkpointing=True)
    device = replace(H200, free_bytes=10 * GIB)
    machine = replace(made.plan.machine, devices=(device,))
    with pytest.raises(TsplannerError, match="plan again with --streamed-layers 0, as only"):
        written(Case(replace(made.plan, machine=machine, free_bytes=10 * GIB), made.options))


@pytest.mark.parametrize("model_type", ["gemma3", "llava", "qwen2_5_vl", "qwen3_vl", "mistral3"])
def test_targets_beside_a_tower_are_whole_names(model_type: str) -> None:
    """PEFT fits the pattern to the real model's names: the language model's linears alone."""
    pytest.importorskip("transformers")
    from tsplanner.training.adapters import linear_names

    found = CASES["trl"]["lora_beside_a_tower"].plan
    config = tiny_vision.config_of(model_type)
    architecture = read_architecture(config, name=model_type, source="test")
    pattern = target_pattern(found, architecture)
    names = linear_names(tiny_vision.built(model_type, device="meta"))
    hit = [name for name in names if re.fullmatch(pattern, name)]
    assert len(hit) == 3 * len(architecture.layer.linears)
    assert all("language_model.layers" in name for name in hit)


def test_a_model_of_text_alone_sees_nothing() -> None:
    """Its targets stay names."""
    assert not sees(CASES["trl"]["lora"].plan.architecture)
    assert sees(CASES["trl"]["lora_beside_a_tower"].plan.architecture)


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


def test_another_trainer_is_judged_by_the_smallest_card_of_unlike_ones() -> None:
    """The plan speaks of the larger card; there both would hold the whole base."""
    streamed = case("qwen2.5-7b", streamed_layers=20, gradient_checkpointing=True).plan
    devices = (H200, replace(H200, free_bytes=10 * GIB))
    hardware = changed(streamed.hardware, world_size=2, streamed_layers=(1, 20))
    unlike = replace(
        streamed,
        machine=replace(streamed.machine, devices=devices),
        hardware=hardware,
        free_bytes=H200.free_bytes,
    )
    room = trainers.room_under(unlike, running(unlike, unlike.architecture))
    assert room.free_bytes == 10 * GIB
