"""Names and shapes of the weights, against the config they lie beside."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest

from tests.support import tiny, tiny_vision
from tsplanner.errors import TsplannerError
from tsplanner.models.headers import (
    NO_PARAMETER,
    extra_layers,
    parameters,
    stored_tensors,
)
from tsplanner.models.source import read_model
from tsplanner.models.weights import find_weights

WIDTHS = {"F32": 4, "BF16": 2, "U8": 1, "I8": 1, "F8_E4M3": 1}
Shapes = dict[str, tuple[str, tuple[int, ...]]]


def tensors(**config: object) -> Shapes:
    """Dtype and shape of every tensor of the tiny model, in bf16."""
    return {name: ("BF16", shape) for name, shape in tiny._shapes().items()}


def write(folder: Path, found: Shapes, **config: object) -> Path:
    """A folder with such tensors of zeros and the tiny model's config."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**tiny.CONFIG, **config}))
    header, end = {}, 0
    for name, (dtype, shape) in found.items():
        start, end = end, end + prod(shape) * WIDTHS[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    told = json.dumps(header).encode()
    data = len(told).to_bytes(8, "little") + told + bytes(end)
    (folder / "model.safetensors").write_bytes(data)
    return folder


def refusal(folder: Path) -> str:
    """Why a folder is refused."""
    with pytest.raises(TsplannerError) as caught:
        read_model(str(folder))
    text = str(caught.value)
    assert text.endswith("config.json belongs to other weights; fetch both again from one place.")
    return text


def test_weights_of_their_config_are_read(tmp_path: Path) -> None:
    """36 tensors, and buffers that older versions stored beside them."""
    found = tensors()
    for layer in range(3):
        found[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = ("F32", (4,))
    source = read_model(str(write(tmp_path, found)))
    assert source.has_weights
    assert parameters(stored_tensors(source.weights)) == 2 * 128 * 32 + 32 + 3 * 9_344


def test_another_vocabulary_is_named_with_both_shapes(tmp_path: Path) -> None:
    """A tokenizer was extended and the config kept, or the other way round."""
    found = tensors() | {
        "model.embed_tokens.weight": ("BF16", (136, 32)),
        "lm_head.weight": ("BF16", (136, 32)),
    }
    text = refusal(write(tmp_path, found))
    assert "model.embed_tokens.weight has the shape [136, 32], by config.json [128, 32]" in text


def test_a_matrix_of_another_shape_is_named(tmp_path: Path) -> None:
    """Of another size of the same family."""
    found = tensors() | {"model.layers.1.mlp.up_proj.weight": ("BF16", (96, 32))}
    text = refusal(write(tmp_path, found))
    assert (
        "model.layers.1.mlp.up_proj.weight has the shape [96, 32], by config.json [64, 32]" in text
    )


def test_missing_and_further_layers_are_counted(tmp_path: Path) -> None:
    """The config of a deeper model, and of a shallower one."""
    text = refusal(write(tmp_path / "deep", tensors(), num_hidden_layers=4))
    assert "layer 3 of the 4 in config.json is not among the weights" in text
    text = refusal(write(tmp_path / "flat", tensors(), num_hidden_layers=2))
    assert "layers.2.input_layernorm.weight is of a layer beyond the 2 in config.json" in text


def test_a_matrix_that_a_layer_lacks_is_named(tmp_path: Path) -> None:
    """Transformers would fill it with random numbers."""
    found = tensors()
    del found["model.layers.2.self_attn.o_proj.weight"]
    assert "layer 2 has no o_proj.weight" in refusal(write(tmp_path, found))


def test_a_head_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    """An untied model whose head is missing would answer at random."""
    found = tensors()
    del found["lm_head.weight"]
    assert "there is no lm_head.weight" in refusal(write(tmp_path, found))
    assert read_model(str(write(tmp_path, found, tie_word_embeddings=True))).has_weights


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(tmp_path: Path) -> None:
    """Else transformers leaves the two apart, and the config says too few parameters."""
    folder = write(tmp_path, tensors(), tie_word_embeddings=True)
    assert read_model(str(folder)).has_weights
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")  # the head is the last tensor
    assert "set tie_word_embeddings to false there" in refusal(folder)


def test_biases_that_the_config_does_not_have_change_the_total(tmp_path: Path) -> None:
    """32 more of each of three layers."""
    found = tensors()
    for layer in range(3):
        found[f"model.layers.{layer}.self_attn.o_proj.bias"] = ("BF16", (32,))
    text = refusal(write(tmp_path, found))
    assert "the weights have 36,352 parameters, and config.json 36,256" in text


def test_a_buffer_that_other_families_train_may_be_stored(tmp_path: Path) -> None:
    """DeepSeek-V3's correction of its router is a buffer, Ernie's a parameter."""
    found = tensors()
    found["model.layers.1.mlp.gate.e_score_correction_bias"] = ("F32", (4,))
    assert read_model(str(write(tmp_path, found))).has_weights


def test_scales_of_quantised_matrices_are_no_parameters_and_gemma_3n_s_scale_is_one() -> None:
    """Both names end alike."""
    assert NO_PARAMETER.search("model.layers.0.mlp.up_proj.weight_scale")
    assert not NO_PARAMETER.search("model.layers.0.altup.correct_output_scale")


def test_layers_that_predict_further_tokens_are_known(tmp_path: Path) -> None:
    """DeepSeek-V3 and GLM-4.5 store them behind the last layer, Qwen3-Next under ``mtp``."""
    found = tensors()
    found["model.layers.3.eh_proj.weight"] = ("BF16", (32, 64))
    found["mtp.fc.weight"] = ("BF16", (32, 64))
    folder = write(tmp_path, found, num_nextn_predict_layers=1)
    source = read_model(str(folder))
    assert extra_layers(source.config) == 1
    assert parameters(stored_tensors(source.weights), extra_from=3) == 36_256


def test_packed_matrices_count_as_what_they_stand_for(tmp_path: Path) -> None:
    """Two values per byte of 4 bits; int8 and FP8 one; constants are no parameters."""
    four = {
        "w.weight": ("U8", (1024, 1)),
        "w.weight.absmax": ("U8", (32,)),
        "w.weight.quant_map": ("F32", (16,)),
        "w.weight.quant_state.bitsandbytes__nf4": ("U8", (80,)),
    }
    other = {
        "a.weight": ("I8", (4, 8)),
        "a.SCB": ("F32", (4,)),
        "b.weight": ("F8_E4M3", (4, 8)),
        "b.weight_scale_inv": ("F32", (1, 1)),
        "c.gate_up_proj_blocks": ("U8", (2, 8, 1, 16)),
        "c.gate_up_proj_scales": ("U8", (2, 8, 1)),
    }
    write(tmp_path, four)
    assert parameters(stored_tensors(find_weights(tmp_path))) == 2048
    write(tmp_path, other)
    assert parameters(stored_tensors(find_weights(tmp_path))) == 32 + 32 + 2 * 2 * 8 * 16


def test_nibbles_of_f4_are_counted_as_the_header_counts_them(tmp_path: Path) -> None:
    """Safetensors writes the shape in values, not in bytes."""
    entry = {"dtype": "F4", "shape": [4, 16], "data_offsets": [0, 32]}
    told = json.dumps({"w.weight": entry}).encode()
    data = len(told).to_bytes(8, "little") + told + bytes(32)
    (tmp_path / "model.safetensors").write_bytes(data)
    assert parameters(stored_tensors(find_weights(tmp_path))) == 64


def test_damaged_files_hold_no_tensors(tmp_path: Path) -> None:
    """The plan says what is wrong with them."""
    write(tmp_path, tensors())
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert stored_tensors(find_weights(tmp_path)) == {}


def test_weights_untie_a_head_that_the_config_does_not_speak_of(tmp_path: Path) -> None:
    """Mistral 3 is tied by default, and its published folders hold a head of their own."""
    pytest.importorskip("transformers")
    folder = tiny_vision.write_model("mistral3", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["tie_word_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    vocabulary = read_model(str(folder)).architecture.vocabulary
    assert not vocabulary.tie_word_embeddings
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    assert "set tie_word_embeddings to false there" in refusal(folder)
