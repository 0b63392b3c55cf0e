"""What ``quantization_config`` says: trained on as stored, dequantised, or refused by name."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from memory_models.settings import Dtype, FinetuningType, Quantization
from memory_models.states.weights import quantized_linears, total_parameters, weight_bytes
from tests.support.shrunk import config_of
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.models.quantized import METHODS, StoredBase, Use, is_kept, stored_base
from tsplanner.models.source import read_architecture

NF4_DQ = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
}


def stored(**section: object) -> StoredBase:
    """What a config with such a section is stored as."""
    found = stored_base({"model_type": "llama", "quantization_config": section})
    assert found is not None
    return found


def refusal(**section: object) -> str:
    """Why a config with such a section is refused."""
    with pytest.raises(TsplannerError) as caught:
        stored(**section)
    return str(caught.value)


def test_a_config_without_the_section_is_stored_whole() -> None:
    """A null section is none."""
    assert stored_base({"model_type": "llama"}) is None
    assert stored_base({"model_type": "llama", "quantization_config": None}) is None


@pytest.mark.parametrize(
    ("section", "quantization", "label"),
    [
        (NF4_DQ, Quantization.NF4_DQ, "nf4-dq"),
        ({**NF4_DQ, "bnb_4bit_use_double_quant": False}, Quantization.NF4, "nf4"),
        ({"load_in_8bit": True}, Quantization.INT8, "int8"),
        # transformers' default of ``bnb_4bit_quant_type``, which takes the same bytes.
        ({"load_in_4bit": True}, Quantization.NF4, "FP4 (the bytes of nf4)"),
        ({"quant_method": "fp8"}, None, "FP8"),
        ({"quant_method": "mxfp4"}, None, "MXFP4"),
    ],
)
def test_what_our_worker_trains_on_is_sized_as_it_lies_on_the_device(
    section: dict[str, object], quantization: Quantization | None, label: str
) -> None:
    """Bitsandbytes matrices stay packed; FP8 and MXFP4 are dequantised while they are loaded."""
    found = stored(**section)
    assert (found.quantization, found.label) == (quantization, label)


def test_the_section_of_the_text_half_counts_too() -> None:
    """Transformers looks there if the wrapper has none."""
    found = stored_base({"model_type": "gemma3", "text_config": {"quantization_config": NF4_DQ}})
    assert found is not None
    assert found.quantization is Quantization.NF4_DQ


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.why])
def test_every_other_method_is_refused_by_name_with_a_way_out(method: str) -> None:
    """One sentence: what is stored, why it is not trained on, and what to take instead."""
    text = refusal(quant_method=method)
    assert f"stored in {METHODS[method].label}, and " in text
    assert text.endswith(
        "take the model's unquantised repository, which --quantization nf4 makes as small."
    )


def test_a_method_that_transformers_does_not_know_is_refused() -> None:
    """Transformers would warn and read packed numbers as weights."""
    assert 'quant_method "modelopt" is unknown to transformers' in refusal(quant_method="modelopt")


def test_a_broken_section_names_its_key() -> None:
    """No traceback, no guess."""
    assert "quant_method is missing" in refusal(bits=4)
    assert "must be an object" in refusal_of("nf4")
    assert "load_in_4bit must be true or false" in refusal(load_in_4bit="yes")
    assert "llm_int8_skip_modules must be a list" in refusal(**NF4_DQ, llm_int8_skip_modules="a")


def refusal_of(section: object) -> str:
    """Why a section that is no object is refused."""
    with pytest.raises(TsplannerError) as caught:
        stored_base({"model_type": "llama", "quantization_config": section})
    return str(caught.value)


@pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")
def test_every_method_of_the_installed_transformers_has_its_row() -> None:
    """What a new version brings is named before anybody meets it."""
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    # Our own is registered once the worker's code was imported.
    theirs = [name for name in AUTO_QUANTIZER_MAPPING if not name.startswith("tsplanner")]
    known = {name.removesuffix("_4bit").removesuffix("_8bit") for name in theirs}
    assert known - set(METHODS) == set()


def test_another_quantisation_than_the_folders_is_refused() -> None:
    """Packed matrices cannot be packed again."""
    stored(**NF4_DQ).accept(Quantization.NF4_DQ)
    with pytest.raises(UsageError, match="quantization none is not possible"):
        stored(**NF4_DQ).accept(None)
    with pytest.raises(UsageError, match="nf4 would round weights again that are stored in FP8"):
        stored(quant_method="fp8").accept(Quantization.NF4)


@pytest.mark.parametrize("method", [FinetuningType.FULL, FinetuningType.FREEZE])
def test_weights_that_are_stored_rounded_are_not_trained(method: FinetuningType) -> None:
    """Neither packed ones nor dequantised ones."""
    for section in (NF4_DQ, {"quant_method": "fp8"}):
        stored(**section).accept_method(FinetuningType.LORA)
        with pytest.raises(UsageError, match=f"{method} trains the weights themselves"):
            stored(**section).accept_method(method)


def test_kept_modules_are_matched_by_the_rule_of_transformers() -> None:
    """From the start to the end of a component, as an expression, or as the end of the name."""
    name = "model.layers.11.mlp.gate_proj"
    assert is_kept(name, ["model.layers.11.mlp"])
    assert is_kept(name, ["model.layers.*.mlp"])
    assert is_kept(name, ["gate_proj"])
    assert not is_kept(name, ["model.layers.1", "mlp", "model.layers.11.mlp.gate", "["])


def test_linears_that_are_kept_whole_are_counted_in_the_layers_that_keep_them() -> None:
    """Of two layers, one keeps its MLP and both keep q: 3 x 2 x 96 x 64 bytes and 2 x 64 x 64 more.

    The packed form of each matrix goes: half a byte per weight, a scale of 4 bytes per 64 weights,
    and a code book of 512 bytes.
    """
    section = {**NF4_DQ, "bnb_4bit_use_double_quant": False}
    kept = {"llm_int8_skip_modules": ["lm_head", "model.layers.1.mlp", "q_proj"]}
    plain, some = (
        read_architecture(
            {**config_of("llama"), "quantization_config": {**section, **more}},
            name="x",
            source="config.json",
        )
        for more in ({}, kept)
    )
    assert [linear.kept_copies for linear in some.layer.linears] == [None, 0, 0, 0, 1, 1, 1]
    assert sum(copies for _, copies in quantized_linears(plain)) == 14
    assert sum(copies for _, copies in quantized_linears(some)) == 9
    assert total_parameters(some) == total_parameters(plain)
    whole = 3 * 2 * 96 * 64 + 2 * 2 * 64 * 64
    packed = 3 * (96 * 64 // 2 + 4 * 96 + 512) + 2 * (64 * 64 // 2 + 4 * 64 + 512)
    difference = weight_bytes(some, Dtype.BF16, Quantization.NF4, upcast=False) - weight_bytes(
        plain, Dtype.BF16, Quantization.NF4, upcast=False
    )
    assert difference == whole - packed


def test_a_list_of_kept_modules_without_the_head_is_refused() -> None:
    """Such a list replaces transformers' own, so the head is packed, and a tied one fails."""
    text = refusal(**NF4_DQ, llm_int8_skip_modules=["q_proj"])
    assert "llm_int8_skip_modules does not name lm_head" in text
    found = stored(**NF4_DQ, llm_int8_skip_modules=["lm_head", "q_proj"])
    assert found.kept == ("lm_head", "q_proj")


def test_only_bitsandbytes_is_trained_on_as_stored() -> None:
    """The table says what the worker does."""
    assert [name for name, row in METHODS.items() if row.use is Use.AS_STORED] == ["bitsandbytes"]
    assert [name for name, row in METHODS.items() if row.use is Use.DEQUANTIZED] == [
        "fp8",
        "mxfp8",
        "mxfp4",
    ]
