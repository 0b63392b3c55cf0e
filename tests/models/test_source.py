"""Where a model comes from, and what is said of a config.json that is broken."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from memory_models.states.weights import total_parameters
from tests.support.shrunk import SHRUNK, config_of
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.models.source import hub_reason, read_config, read_model


def write(folder: Path, config: object, name: str = "config.json") -> Path:
    """A config.json in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def refusal(name: str | Path) -> str:
    """The sentence that reading a model ends in."""
    with pytest.raises(TsplannerError) as caught:
        read_model(str(name))
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 2000
    return text


def test_a_folder_gives_its_name_and_its_config(tmp_path: Path) -> None:
    """The folder's name is the model's; without weights it says so."""
    write(tmp_path / "my-model", config_of("llama"))
    source = read_model(str(tmp_path / "my-model"))
    assert source.architecture.name == "my-model"
    assert source.folder == (tmp_path / "my-model").resolve()
    assert (source.has_weights, source.tokenizer) == (False, None)
    assert source.config == config_of("llama")


def test_weights_and_tokenizer_beside_the_config_are_found(tmp_path: Path) -> None:
    """A folder as save_pretrained wrote it can be trained as it is."""
    write(tmp_path, config_of("llama"))
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "tokenizer.json").touch()
    source = read_model(str(tmp_path))
    assert source.has_weights
    assert source.tokenizer == tmp_path.resolve()


def test_a_bare_config_of_another_name_has_no_weights(tmp_path: Path) -> None:
    """Weights beside it belong to config.json, not to shapes.json."""
    path = write(tmp_path, config_of("qwen2"), "shapes.json")
    (tmp_path / "model.safetensors").touch()
    source = read_model(str(path))
    assert source.architecture.name == "shapes"
    assert not source.has_weights


def test_a_folder_wins_over_a_preset_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies here was meant."""
    write(tmp_path / "qwen2.5-7b", config_of("llama"))
    monkeypatch.chdir(tmp_path)
    assert read_model("qwen2.5-7b").architecture.model_type == "llama"


def test_a_model_that_also_sees_is_read_with_its_tower(tmp_path: Path) -> None:
    """Gemma 3 keeps its decoder under ``text_config``, here without a model type."""
    text = {key: value for key, value in config_of("gemma3_text").items() if key != "model_type"}
    tower = {"hidden_size": 16, "vision_use_head": False}
    path = write(tmp_path, {"model_type": "gemma3", "text_config": text, "vision_config": tower})
    architecture = read_model(str(path)).architecture
    assert architecture.model_type == "gemma3"
    assert architecture.outside.frozen_linears


def test_the_text_part_of_an_unknown_model_is_not_read_as_the_model(tmp_path: Path) -> None:
    """What lies beside it would be missing from every figure."""
    path = write(tmp_path, {"model_type": "audio_llama", "text_config": config_of("llama")})
    assert 'model_type "audio_llama" has no reader' in refusal(path)


@pytest.mark.parametrize(
    ("name", "close"),
    [("qwen2.5-7bb", "qwen2.5-7b"), ("chats-14b", "chatts-14b"), ("lama-3.1-8b", "llama-3.1-8b")],
)
def test_an_unknown_model_gets_the_preset_that_was_meant(name: str, close: str) -> None:
    """And the verb that lists all presets."""
    with pytest.raises(UsageError) as caught:
        read_model(name)
    assert f'Did you mean "{close}"?' in str(caught.value)
    assert "tsplanner models" in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-of-this-name/model", "a\0b", ""])
def test_a_name_that_is_no_path_ends_in_a_sentence(name: str) -> None:
    """Too long, of no user, with a zero byte, or empty: no traceback."""
    assert refusal(name)


def test_a_folder_without_a_config_says_what_to_give(tmp_path: Path) -> None:
    """The folder that save_pretrained wrote."""
    assert "has no config.json; give the folder that save_pretrained wrote" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{not json", "is not valid JSON"),
        ("", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[1, 2]", "must hold a JSON object, not list"),
        ("null", "must hold a JSON object, not NoneType"),
        ('"llama"', "must hold a JSON object, not str"),
        ("{}", "it has no model_type, by which transformers knows what to build"),
        ('{"model_type": 5}', "model_type must be a string, not 5"),
        ('{"model_type": "qwen4"}', 'has no reader. Did you mean "qwen3"?'),
        ('{"model_type": "lama"}', 'has no reader. Did you mean "llama"?'),
        ('{"model_type": "llava", "text_config": {"model_type": []}}', "must be a string, not []"),
    ],
)
def test_a_broken_config_says_what_is_wrong_with_it(
    content: str, says: str, tmp_path: Path
) -> None:
    """One sentence with the file's path."""
    path = tmp_path / "config.json"
    path.write_text(content, encoding="utf-8")
    sentence = refusal(path)
    assert says in sentence
    assert str(path) in sentence


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": 0}, "hidden_size must be a whole number above 0, not 0"),
        ({"hidden_size": -64}, "hidden_size must be a whole number above 0, not -64"),
        ({"hidden_size": 64.0}, "hidden_size must be a whole number above 0, not 64.0"),
        ({"hidden_size": "64"}, "hidden_size must be a whole number above 0, not '64'"),
        ({"hidden_size": True}, "hidden_size must be a whole number above 0, not True"),
        ({"hidden_size": [64] * 9999}, "hidden_size must be a whole number above 0, not [64,"),
        ({"num_hidden_layers": 10**30}, "num_hidden_layers must be at most"),
        ({"vocab_size": {}}, "vocab_size must be a whole number above 0, not {}"),
        ({"hidden_size": 66}, "hidden_size 66 is not a multiple of num_attention_heads 4"),
        ({"num_key_value_heads": 3}, "4 is not a multiple of num_key_value_heads 3"),
        ({"hidden_act": "mish"}, "hidden_act has the unknown activation 'mish'"),
        ({"hidden_act": 7}, "hidden_act must be a string, not 7"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false, not 'yes'"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(
    changes: dict[str, object], says: str, tmp_path: Path
) -> None:
    """Which key, what it holds, what it must be."""
    path = write(tmp_path, config_of("llama", **changes))
    sentence = refusal(path)
    assert says in sentence
    assert str(path) in sentence


@pytest.mark.parametrize(
    ("model_type", "changes", "says"),
    [
        ("chatts", {"ts": None}, "ts must be an object, not None"),
        ("chatts", {"ts": {"patch_size": 0}}, "config.json: ts: patch_size must be"),
        ("chatts", {"ts": {}}, "config.json: ts: patch_size is missing"),
        ("opt", {"word_embed_proj_dim": 32}, "word_embed_proj_dim differs from hidden_size 64"),
        ("opt", {"do_layer_norm_before": False}, "puts the norms behind the blocks"),
        ("opt", {"ffn_dim": None}, "ffn_dim is missing"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, "mlp_only_layers mixes dense and sparse"),
        ("qwen3_moe", {"decoder_sparse_step": 2}, "mixes dense and sparse"),
        ("gemma2", {"final_logit_softcapping": "x"}, "final_logit_softcapping must be a number"),
        ("gemma2", {"final_logit_softcapping": 10**400}, "config.json"),
    ],
)
def test_a_familys_own_keys_are_checked_too(
    model_type: str, changes: dict[str, object], says: str, tmp_path: Path
) -> None:
    """The encoder's section, the mixture's layers, OPT's projections."""
    assert says in refusal(write(tmp_path, config_of(model_type, **changes)))


def test_a_file_over_8_mib_is_no_config(tmp_path: Path) -> None:
    """Weights given by mistake are not read to the end."""
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(8 * 1024 * 1024 + 1)
    assert "is over 8 MiB, which is too large for a config.json" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_config_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    """The system's own reason is in the sentence."""
    path = write(tmp_path, config_of("llama"))
    path.chmod(0)
    assert "cannot be read: Permission denied" in refusal(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config.json to overwrite."""
    return tmp_path_factory.mktemp("fuzz") / "config.json"


fuzz = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzz
@given(content=st.binary(max_size=200))
@example(content=b"\xef\xbb\xbf{}")
@example(content=b"\xff\xfe{\x00}\x00")
@example(content=b'{"model_type": "\\ud800"}')
@example(content=b"9" * 5000)
def test_random_bytes_end_in_a_sentence(content: bytes, scratch: Path) -> None:
    """Whatever a config.json holds, reading it raises nothing but a TsplannerError."""
    scratch.write_bytes(content)
    with suppress(TsplannerError):
        read_model(str(scratch))
    with suppress(TsplannerError):
        read_config(scratch)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(1, 200)
    | st.floats()
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)


@fuzz
@given(data=st.data())
def test_any_value_of_any_key_ends_in_an_architecture_or_a_sentence(
    data: st.DataObject, scratch: Path
) -> None:
    """A real config with up to three wrong values is read or refused, and counts stay whole."""
    config = config_of(data.draw(st.sampled_from(sorted(SHRUNK))))
    keys = [*config, "head_dim", "text_config", "attention_bias", "final_logit_softcapping"]
    changed = data.draw(st.dictionaries(st.sampled_from(keys), values, max_size=3))
    write(scratch.parent, {**config, **changed})
    with suppress(TsplannerError):
        assert total_parameters(read_model(str(scratch)).architecture) > 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"model_type": "llama", "rope_theta": NaN}', "holds NaN or Infinity"),
        ('{"model_type": "llama", "torch_dtype": "\\ud800"}', "half a character"),
        ("[" * 50_000, "nested too deep"),
        ('{"model_type": "llama", "x": "\xff"}', "is not UTF-8"),
    ],
)
def test_a_config_that_no_plan_could_hold_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """A plan carries the config, and what is no JSON would break every reader of the plan."""
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(TsplannerError, match=says):
        read_model(str(tmp_path))


def test_an_encoder_of_a_billion_layers_is_refused(tmp_path: Path) -> None:
    """Its linears would fill the memory of this computer before anything could be said."""
    config = {"model_type": "qwen2", "num_hidden_layers": 2, "hidden_size": 64}
    config |= {"intermediate_size": 64, "num_attention_heads": 2, "vocab_size": 100}
    config |= {"ts": {"patch_size": 8, "num_layers": 2**30, "hidden_size": 64}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TsplannerError, match="num_layers must be at most 1024"):
        read_model(str(tmp_path))


def test_what_the_hub_lacks_is_said_in_a_few_words() -> None:
    """By the name of the library's error, whose own text is a paragraph that would be cut off."""

    class LocalEntryNotFoundError(Exception):
        """As huggingface_hub calls it."""

    away = hub_reason(LocalEntryNotFoundError("An error happened while trying to locate" * 9))
    assert away == "the hub cannot be reached, and the file is not in its cache"
    assert hub_reason(KeyError("x")) == "KeyError, the hub gave no answer"
