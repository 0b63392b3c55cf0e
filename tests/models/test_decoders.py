"""Readers against transformers and PEFT: every count is the real model's."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from memory_models.architecture import Architecture
from memory_models.settings import FinetuningType, TrainingSettings, from_flat
from memory_models.states.adapters import trainable_parameters
from memory_models.states.weights import total_parameters
from tests.support.shrunk import SHRUNK, VARIANTS, config_of
from tsplanner.models.decoders import READERS
from tsplanner.models.source import preset_names, read_architecture, read_model

PUBLISHED = {
    "chatts-14b": 14_876_137_488,
    "chatts-8b": 8_258_946_064,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-1b": 999_885_952,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b": 7_248_023_552,
    "mistral-nemo-12b": 12_247_782_400,
    "mistral-small-24b": 23_572_403_200,
    "mixtral-8x7b": 46_702_792_704,
    "opt-125m": 125_239_296,
    "opt-1.3b": 1_315_758_080,
    "phi-3-mini": 3_821_079_552,
    "phi-3-medium": 13_960_238_080,
    "phi-4": 14_659_507_200,
    "phi-4-mini": 3_836_021_760,
    "pythia-160m": 162_322_944,
    "pythia-1.4b": 1_414_647_808,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-32b": 32_762_123_264,
    "smollm2-135m": 134_515_008,
    "granite-3.3-2b": 2_533_539_840,
    "granite-3.3-8b": 8_170_864_640,
    "smollm3-3b": 3_075_098_624,
    "olmo-2-1b": 1_484_916_736,
    "olmo-2-7b": 7_298_617_344,
    "olmo-2-13b": 13_716_198_400,
    "olmo-3-7b": 7_298_011_136,
    "glm-4-9b": 9_400_094_720,
    "glm-4-32b": 32_566_081_536,
    "phi-2": 2_779_683_840,
    "command-r7b": 8_028_033_024,
    "command-r-35b": 34_980_831_232,
    "starcoder2-3b": 3_030_371_328,
    "starcoder2-7b": 7_173_923_840,
    "starcoder2-15b": 15_957_889_024,
    "stablelm-2-1.6b": 1_644_515_328,
}
"""Parameters of the released checkpoints. Pythia's count has the 50,304-row table twice."""


@pytest.mark.parametrize(("name", "total"), PUBLISHED.items())
def test_a_preset_has_the_published_number_of_parameters(name: str, total: int) -> None:
    """To the last parameter: biases, norms and tied heads included."""
    assert total_parameters(read_model(name).architecture) == total


@pytest.mark.parametrize(("name", "count"), [("chatts-14b", 9_020_480), ("chatts-8b", 5_604_416)])
def test_chatts_lora_has_the_parameters_its_trainer_prints(name: str, count: int) -> None:
    """Rank 8 on q, k and v, and on every linear of the time-series encoder."""
    settings = from_flat(TrainingSettings, lora_rank=8, lora_target=("q_proj", "k_proj", "v_proj"))
    assert trainable_parameters(read_model(name).architecture, settings.method) == count


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_trained_by_every_method(name: str) -> None:
    """Something is trained, never more than there is."""
    architecture = read_model(name).architecture
    for method in FinetuningType:
        trained = trainable_parameters(
            architecture, from_flat(TrainingSettings, finetuning_type=method).method
        )
        assert 0 < trained <= total_parameters(architecture), method


def test_every_reader_has_a_small_config() -> None:
    """A new family comes with its row here, and so with every contract below."""
    assert set(SHRUNK) == set(READERS)


def architecture_of(config: dict[str, object]) -> Architecture:
    """As ``read_model`` reads it."""
    return read_architecture(dict(config), name="shrunk", source="config.json")


def transformers_config(config: dict[str, object]) -> Any:
    """The configuration object of transformers."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tsplanner.training.chatts import register

    register()
    return transformers.AutoConfig.for_model(**json.loads(json.dumps(config)))


def build(config: Any, device: str) -> Any:
    """The model of a configuration, of random weights (none on "meta")."""
    import torch

    from tsplanner.training.language_model import auto_class

    with torch.device(device):
        return auto_class(config).from_config(config)


def parameters_of(config: dict[str, object]) -> int:
    """Parameters of the real model; tied ones count once."""
    model = build(transformers_config(config), "meta")
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names())
def test_a_preset_counts_what_transformers_builds(name: str) -> None:
    """The model of the same config.json, built without memory."""
    source = read_model(name)
    assert total_parameters(source.architecture) == parameters_of(source.config)


@pytest.mark.parametrize("model_type", SHRUNK)
def test_a_reader_counts_what_transformers_builds(model_type: str) -> None:
    """Head sizes, biases and norms of every family, in small."""
    config = config_of(model_type)
    assert total_parameters(architecture_of(config)) == parameters_of(config)


@pytest.mark.parametrize(("model_type", "changes"), VARIANTS)
def test_a_reader_follows_the_keys_that_vary(model_type: str, changes: dict[str, object]) -> None:
    """Biases switched, heads tied and untied, a head size of its own."""
    config = config_of(model_type, **changes)
    assert total_parameters(architecture_of(config)) == parameters_of(config)


@pytest.mark.parametrize("model_type", SHRUNK)
def test_a_config_as_transformers_writes_it_is_read_alike(model_type: str, tmp_path: Path) -> None:
    """``save_pretrained`` leaves keys out and renames some; the count stays."""
    written = transformers_config(config_of(model_type))
    written.save_pretrained(tmp_path)
    expected = total_parameters(architecture_of(config_of(model_type)))
    assert total_parameters(read_model(str(tmp_path)).architecture) == expected


@pytest.mark.parametrize("model_type", SHRUNK)
@pytest.mark.parametrize("key", ["head_dim", "num_key_value_heads", "tie_word_embeddings"])
def test_a_key_that_is_left_out_has_the_familys_default(model_type: str, key: str) -> None:
    """Published Gemma 3 configs name neither heads nor head size."""
    config = config_of(model_type, hidden_size=512, num_attention_heads=32)
    config.pop("head_dim", None)
    config.pop(key, None)
    if model_type == "opt":
        config["word_embed_proj_dim"] = 512
    if isinstance(config.get("ts"), dict):
        config["ts"] = {**config["ts"], "hidden_size": 512}  # type: ignore[dict-item]
    assert total_parameters(architecture_of(config)) == parameters_of(config)


@pytest.mark.parametrize("model_type", SHRUNK)
@pytest.mark.parametrize(
    "method",
    [
        FinetuningType.LORA,
        FinetuningType.RSLORA,
        FinetuningType.DORA,
        FinetuningType.ADALORA,
        FinetuningType.FREEZE,
    ],
)
def test_trained_parameters_are_those_of_peft(model_type: str, method: FinetuningType) -> None:
    """Adapters on every linear of the same small model, built by PEFT itself."""
    settings = from_flat(
        TrainingSettings, finetuning_type=method, lora_rank=2, freeze_trainable_layers=1
    )
    expected = trainable_parameters(architecture_of(config_of(model_type)), settings.method)
    assert peft_count(model_type, method) == expected


def peft_count(model_type: str, method: FinetuningType) -> int:
    """Trained elements of the small model after the method was applied."""
    model = build(transformers_config(config_of(model_type)), "cpu")
    peft = pytest.importorskip("peft")
    from tsplanner.training.adapters import target_pattern

    # PEFT's own word takes fused experts too and leaves the encoder's adapters to the user; the
    # worker names every nn.Linear of the blocks and of the encoder.
    own_names = model_type in ("chatts", "qwen3ts", "mixtral", "qwen3_moe")
    targets = target_pattern(model, "all-linear") if own_names else "all-linear"
    common = {"task_type": "CAUSAL_LM", "target_modules": targets}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if method is FinetuningType.FREEZE:
            model.requires_grad_(False)
            layers = next(m for m in model.modules() if type(m).__name__ == "ModuleList")
            layers[-1].requires_grad_(True)
        elif method is FinetuningType.ADALORA:
            model = peft.get_peft_model(
                model, peft.AdaLoraConfig(target_r=2, init_r=3, total_step=10, **common)
            )
        else:
            model = peft.get_peft_model(
                model,
                peft.LoraConfig(
                    r=2,
                    use_dora=method is FinetuningType.DORA,
                    use_rslora=method is FinetuningType.RSLORA,
                    **common,
                ),
            )
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("flag", "parallel"), [({}, True), ({"use_parallel_residual": False}, False)]
)
def test_gpt_neox_runs_attention_and_mlp_side_by_side_unless_told(
    flag: dict[str, object], parallel: bool
) -> None:
    """Pythia's blocks are parallel."""
    assert architecture_of(config_of("gpt_neox", **flag)).layer.parallel_residual is parallel
    assert architecture_of(config_of("llama")).layer.parallel_residual is False
