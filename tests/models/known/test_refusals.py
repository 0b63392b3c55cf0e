"""What is no causal language model ends in one sentence that names what it is and what works."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsplanner.errors import TsplannerError
from tsplanner.models.config import NoReaderError
from tsplanner.models.known.refusals import WrongModelError
from tsplanner.models.source import find_model, read_architecture
from tsplanner.trust import granting

QWEN = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}


def refusal(values: dict[str, object]) -> str:
    """The sentence that refuses a config."""
    with pytest.raises(WrongModelError) as caught:
        read_architecture(values, name="x", source="config.json")
    sentence = str(caught.value)
    assert sentence.startswith("config.json: ")
    assert "\n" not in sentence
    assert len(sentence) < 300
    return sentence


@pytest.mark.parametrize(
    ("model_type", "architecture", "says"),
    [
        ("bert", "BertForMaskedLM", '"bert" is an encoder, which fills masks'),
        ("xlm-roberta", "XLMRobertaModel", "is an encoder"),
        ("modernbert", "ModernBertForMaskedLM", "is an encoder"),
        ("deberta-v2", None, "is an encoder"),
        ("t5", "T5ForConditionalGeneration", '"t5" is an encoder-decoder ("T5ForCond'),
        ("bart", "BartForConditionalGeneration", "is an encoder-decoder"),
        ("mbart", None, "is an encoder-decoder"),
        ("whisper", "WhisperForConditionalGeneration", "is a model of speech or sound"),
        ("qwen2_audio", None, "is a model of speech or sound"),
        ("wav2vec2", None, "is a model of speech or sound"),
        ("vit", "ViTForImageClassification", "is a model of images"),
        ("clip", "CLIPModel", "is a model of images"),
        ("timesfm", None, "is a forecaster of time series"),
        ("siglip_text_model", None, "is a part of a larger model"),
    ],
)
def test_another_kind_of_model_is_refused_by_what_it_is(
    model_type: str, architecture: str | None, says: str
) -> None:
    """Each with what to take instead."""
    classes = {} if architecture is None else {"architectures": [architecture]}
    sentence = refusal({"model_type": model_type, **classes})
    assert says in sentence
    assert ": take " in sentence or ": give " in sentence or "take chatts-8b" in sentence


@pytest.mark.parametrize(
    ("architecture", "says"),
    [
        ("Qwen2ForSequenceClassification", "is a classifier or reward model"),
        ("Qwen2ForTokenClassification", "is a classifier of tokens"),
        ("Qwen2ForRewardModel", "is a reward model"),
        ("Qwen2ForProcessRewardModel", "is a reward model"),
        ("LlamaForRewardModelWithGating", "is a reward model"),
        ("Qwen2ForQuestionAnswering", "marks answers"),
        ("Qwen2Model", "is an embedding model, saved without an output head"),
    ],
)
def test_a_causal_type_with_another_head_is_refused(architecture: str, says: str) -> None:
    """The type alone says nothing about the head."""
    base = "Qwen/Qwen2.5-7B"
    sentence = refusal({**QWEN, "architectures": [architecture], "_name_or_path": base})
    assert says in sentence
    assert f'give its base, "{base}"' in sentence


def test_a_tied_model_saved_without_its_head_loses_nothing() -> None:
    """The head is the embedding, which is there; a head of its own would be random."""
    tied = {**QWEN, "architectures": ["Qwen2Model"], "tie_word_embeddings": True}
    assert read_architecture(tied, name="x", source="c").vocabulary.tie_word_embeddings
    bidirectional = {**tied, "use_bidirectional_attention": True}
    assert "embedding model" in refusal(bidirectional)


def test_a_causal_head_is_read() -> None:
    """As nearly every published decoder has it."""
    found = read_architecture(
        {**QWEN, "architectures": ["Qwen2ForCausalLM"]}, name="x", source="config.json"
    )
    assert found.model_type == "qwen2"


def test_an_encoder_type_that_says_it_is_a_decoder_is_left_to_the_trace() -> None:
    """BERT with is_decoder predicts the next token; transformers builds it."""
    with pytest.raises(NoReaderError):
        read_architecture({"model_type": "bert", "is_decoder": True}, name="x", source="c")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.30"}, "diffusers"),
        ({"peft_type": "LORA", "base_model_name_or_path": "a/b"}, 'give its base, "a/b"'),
        ({"dim": 4096, "n_layers": 32, "n_heads": 32}, "params.json of the original weights"),
        ({"model_cfg": {}, "preprocess_cfg": {}}, "timm or open_clip"),
        ({"model_type": "llada"}, "is a diffusion model of text"),
    ],
)
def test_a_config_of_another_library_is_named(values: dict[str, object], says: str) -> None:
    """None of them has a model_type that transformers could build a causal model of."""
    assert says in refusal(values)


def test_a_type_that_ships_its_code_is_refused_unless_the_user_trusts_it() -> None:
    """The sentence names the nearest model that needs no foreign code."""
    shipped: dict[str, object] = {"model_type": "internlm2", "auto_map": {"AutoConfig": "c.C"}}
    sentence = refusal(shipped)
    assert "a copy converted to Llama's names" in sentence
    assert "--trust-remote-code" in sentence
    with granting(True), pytest.raises(NoReaderError):
        read_architecture(shipped, name="x", source="config.json")


def test_code_beside_a_type_that_transformers_has_is_not_needed() -> None:
    """Many published configs carry an auto_map from before transformers had their type."""
    with_map = {**QWEN, "auto_map": {"AutoConfig": "configuration_qwen.QwenConfig"}}
    assert read_architecture(with_map, name="x", source="c").hidden_size == 64


def folder_refusal(folder: Path) -> str:
    """The sentence that refuses a folder or a file."""
    with pytest.raises(TsplannerError) as caught:
        find_model(str(folder))
    return str(caught.value)


def test_an_adapters_folder_names_its_base(tmp_path: Path) -> None:
    """save_pretrained of PEFT writes no config.json."""
    values = {"base_model_name_or_path": "Qwen/Qwen2.5-7B", "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
    sentence = folder_refusal(tmp_path)
    assert 'is an adapter, no model: give its base, "Qwen/Qwen2.5-7B"' in sentence
    assert "merge_and_unload" in sentence


def test_a_damaged_adapter_config_is_still_an_adapter(tmp_path: Path) -> None:
    """Its base is then unknown."""
    (tmp_path / "adapter_config.json").write_text("[", encoding="utf-8")
    assert "give the causal model that it was made from" in folder_refusal(tmp_path)


def test_gguf_is_refused_as_a_folder_and_as_a_file(tmp_path: Path) -> None:
    """The weights alone carry no config.json."""
    file = tmp_path / "model-Q4_K_M.gguf"
    file.write_bytes(b"GGUF")
    for given in (tmp_path, file):
        assert "model-Q4_K_M.gguf is GGUF, a format for inference" in folder_refusal(given)


@pytest.mark.parametrize(
    ("name", "says"),
    [("model_index.json", "is a diffusers pipeline"), ("params.json", "holds original weights")],
)
def test_a_folder_of_another_form_is_named(name: str, says: str, tmp_path: Path) -> None:
    """Neither has a config.json."""
    (tmp_path / name).write_text("{}", encoding="utf-8")
    assert says in folder_refusal(tmp_path)


def test_a_type_that_no_library_has_gets_the_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless transformers is newer than the table of its types: then it is asked."""
    sentence = refusal({"model_type": "qwen22"})
    assert 'model_type "qwen22" has no reader. Did you mean "qwen2"?' in sentence
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0.1")
    with pytest.raises(NoReaderError):
        read_architecture({"model_type": "qwen22"}, name="x", source="config.json")
