"""Checkpoints as they were released: their names and shapes, nothing converted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from memory_models.settings import Dtype, Quantization
from tests.support import tiny
from tsplanner.errors import TsplannerError
from tsplanner.models.source import read_model
from tsplanner.planner.plan import ModelRef, Plan
from tsplanner.planner.settings import HardwareSettings
from tsplanner.training import model
from tsplanner.training.adapters import apply_method
from tsplanner.training.eight_bit.linear import EightBitLinear
from tsplanner.training.model import (
    attention_of,
    build_model,
    configuration_values,
    model_config,
    runs_eager,
    use_stored_form,
)

HIDDEN, MIDDLE, KEYS, LAYERS, WORDS, PATCH = 32, 48, 16, 2, 70, 8
INDEX = "model.safetensors.index.json"
CONFIG = {
    "architectures": ["Qwen2TSForCausalLM"],
    "hidden_size": HIDDEN,
    "intermediate_size": MIDDLE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": WORDS,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "ts_token_start_index": 60,
    "ts_token_end_index": 61,
    "pad_token_id": 0,
    "ts": {
        "patch_size": PATCH,
        "num_layers": 5,
        "hidden_size": HIDDEN,
        "num_features": 2,
        "embedding_dim": 16,
        "max_length": 512,
        "max_sequence_length": 512,
        "use_position_embedding": True,
    },
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes as the released 14B index lists them, at toy size."""
    block = {
        "input_layernorm.weight": (HIDDEN,),
        "mlp.down_proj.weight": (HIDDEN, MIDDLE),
        "mlp.gate_proj.weight": (MIDDLE, HIDDEN),
        "mlp.up_proj.weight": (MIDDLE, HIDDEN),
        "post_attention_layernorm.weight": (HIDDEN,),
        "self_attn.k_proj.bias": (KEYS,),
        "self_attn.k_proj.weight": (KEYS, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
        "self_attn.q_proj.bias": (HIDDEN,),
        "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
        "self_attn.v_proj.bias": (KEYS,),
        "self_attn.v_proj.weight": (KEYS, HIDDEN),
    }
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (WORDS, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (WORDS, HIDDEN),
        "ts_encoder.position_embedding.weight": (513, 16),
        "ts_encoder.mlp.0.weight": (HIDDEN, 17 * PATCH),
        "ts_encoder.mlp.0.bias": (HIDDEN,),
    }
    for place in (2, 4, 6, 8):
        found |= {f"ts_encoder.mlp.{place}.weight": (HIDDEN, HIDDEN)}
        found |= {f"ts_encoder.mlp.{place}.bias": (HIDDEN,)}
    for layer in range(LAYERS):
        found |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return found


def released(folder: Path, *, model_type: str = "chatts", without: str = "") -> Path:
    """A checkpoint in fp16, in two shards with an index."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "model_type": model_type}))
    torch.manual_seed(1)
    tensors = {
        name: torch.randn(shape).half() * 0.1 for name, shape in shapes().items() if name != without
    }
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(places.values()):
        mine = {name: tensor for name, tensor in tensors.items() if places[name] == file}
        save_file(mine, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def plan_for(folder: Path, tmp_path: Path) -> Plan:
    """The tiny plan, for the checkpoint in ``folder``."""
    source = read_model(str(folder))
    model = ModelRef(
        name=folder.name,
        path=str(folder),
        model_type=source.architecture.model_type,
        parameters_total=0,
        parameters_trainable=0,
        config=source.config,
        has_weights=source.has_weights,
        architecture=source.architecture,
    )
    return replace(tiny.plan(tmp_path / "plan"), model=model)


@pytest.mark.parametrize("model_type", ["chatts", "qwen2"])
def test_released_weights_load_as_they_are(tmp_path: Path, model_type: str) -> None:
    """Every name is taken and every value kept; some releases call themselves qwen2."""
    folder = released(tmp_path / "checkpoint", model_type=model_type)
    model = build_model(plan_for(folder, tmp_path), torch.device("cpu"))

    loaded = model.state_dict()
    assert set(loaded) == set(shapes())
    for file in folder.glob("*.safetensors"):
        for name, value in load_file(file).items():
            assert torch.equal(loaded[name].half(), value), name


def test_a_checkpoint_without_an_encoder_weight_is_refused(tmp_path: Path) -> None:
    """A random matrix in its place would train and answer nonsense."""
    name = "ts_encoder.mlp.4.weight"
    plan = plan_for(released(tmp_path / "checkpoint"), tmp_path)
    broken = released(tmp_path / "broken", without=name)
    with pytest.raises(TsplannerError, match=f"there is no {name}, which config.json describes"):
        plan_for(broken, tmp_path)
    # A plan that was made before the file was lost meets the refusal when it is run.
    later = replace(plan, model=replace(plan.model, path=str(broken)))
    with pytest.raises(TsplannerError, match=f"lacks {name}: its config.json belongs to"):
        build_model(later, torch.device("cpu"))


def test_a_checkpoint_with_weights_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    """As when config.json lost its ``ts`` section: the encoder would be left out silently."""
    folder = released(tmp_path / "checkpoint", model_type="qwen2")
    plan = plan_for(folder, tmp_path)
    values = {key: value for key, value in CONFIG.items() if key != "ts"} | {"model_type": "qwen2"}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(TsplannerError, match=r"such as ts_encoder\.mlp\.0\.weight"):
        plan_for(folder, tmp_path)
    with pytest.raises(
        TsplannerError, match=r"holds, unread, ts_encoder\.mlp\.0\.bias and 10 more"
    ):
        build_model(replace(plan, model=replace(plan.model, config=values)), torch.device("cpu"))


def test_a_text_models_config_is_its_own(tmp_path: Path) -> None:
    """Without a ``ts`` section qwen2 stays qwen2."""
    plan = tiny.plan(tmp_path)
    assert model_config(plan.model).model_type == "qwen2"


def test_random_weights_are_the_same_every_time(tmp_path: Path) -> None:
    """An adapter that was trained on them finds its base again, whatever the plan's own seed."""
    plan = tiny.plan(tmp_path)
    first = build_model(plan, torch.device("cpu")).state_dict()
    second = build_model(tiny.with_learning(plan, seed=7), torch.device("cpu")).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (None, None),
        (Quantization.INT8, (True, False, False)),
        (Quantization.NF4, (False, True, False)),
        (Quantization.NF4_DQ, (False, True, True)),
    ],
)
def test_bitsandbytes_is_told_bits_and_double_quantisation(
    tmp_path: Path, quantization: Quantization | None, expected: tuple[bool, bool, bool] | None
) -> None:
    """Products run in the dtype of autocast, or of the weights without it."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), quantization=quantization)
    found = model.quantization_config(plan.hardware)
    if expected is None:
        assert found is None
    else:
        double = found.load_in_4bit and found.bnb_4bit_use_double_quant
        assert (found.load_in_8bit, found.load_in_4bit, double) == expected
    assert model.compute_dtype(plan.hardware) is torch.float32
    half = tiny.with_hardware(plan, autocast=Dtype.BF16)
    assert model.compute_dtype(half.hardware) is torch.bfloat16


@pytest.mark.parametrize("upcast", [False, True])
def test_unquantised_parts_are_cast_to_fp32_only_where_the_plan_says_so(
    tmp_path: Path, upcast: bool
) -> None:
    """Embeddings, head and norms of an NF4 base in bf16; nothing of the base is trained."""
    plan = tiny.with_hardware(
        tiny.plan(tmp_path),
        model_dtype=Dtype.BF16,
        autocast=Dtype.BF16,
        quantization=Quantization.NF4_DQ,
        upcast_unquantized=upcast,
    )
    base = build_model(plan, torch.device("cpu"))
    expected = torch.float32 if upcast else torch.bfloat16
    assert base.get_input_embeddings().weight.dtype is expected
    assert base.lm_head.weight.dtype is expected
    assert base.model.norm.weight.dtype is expected
    assert base.model.layers[0].mlp.up_proj.weight.dtype is torch.uint8
    assert not any(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.parametrize("loaded", [False, True])
def test_a_4_bit_base_trains_on_after_an_evaluation(tmp_path: Path, loaded: bool) -> None:
    """Drawn or loaded: bitsandbytes must not repack its weights for inference on any CPU."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), quantization=Quantization.NF4_DQ)
    plan = replace(plan, model=replace(plan.model, has_weights=loaded))
    base = build_model(plan, torch.device("cpu"))
    packed = [item for item in base.modules() if hasattr(item, "support_avx512bf16_for_cpu")]
    assert len(packed) == 7 * 3
    assert not any(item.support_avx512bf16_for_cpu for item in packed)
    rows = torch.randint(0, 100, (2, 16))
    found = apply_method(plan, base, 3)
    for training in (True, False, True):
        found.train(training)
        assert torch.isfinite(found(input_ids=rows, labels=rows).loss)


@pytest.mark.parametrize("loaded", [False, True], ids=["drawn", "loaded"])
@pytest.mark.parametrize("form", [Quantization.FP8, Quantization.W8A8])
def test_a_base_in_8_bits_is_that_of_the_plain_model_and_learns_under_checkpoints(
    tmp_path: Path, form: Quantization, loaded: bool
) -> None:
    """Its matrices are the rounded ones; a loss, its gradients and those of a second run agree."""
    plan = tiny.plan(tmp_path)
    plan = replace(plan, model=replace(plan.model, has_weights=loaded))
    plain = build_model(plan, torch.device("cpu"))
    base = build_model(tiny.with_hardware(plan, quantization=form), torch.device("cpu"))
    found = {name: each for name, each in base.named_modules() if type(each) is EightBitLinear}
    assert len(found) == 7 * 3
    if loaded:  # drawn matrices come one by one, in another order
        for name, each in found.items():
            whole = plain.get_submodule(name).weight
            assert float((each.weight - whole).norm() / whole.norm()) < 0.03
    assert not any(parameter.requires_grad for parameter in base.parameters())
    trained = apply_method(plan, base, 3)
    rows = torch.arange(32).reshape(2, 16) % 100
    losses, gradients = [], []
    for checkpointed in (False, True):
        if checkpointed:
            trained.gradient_checkpointing_enable({"use_reentrant": False})
        trained.train()
        trained.zero_grad()
        loss = trained(input_ids=rows, labels=rows).loss
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append([p.grad.clone() for p in trained.parameters() if p.grad is not None])
    assert losses[1] == losses[0]
    assert len(gradients[0]) == 2 * 7 * 3
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_tokenizer_pads_with_its_end_where_it_has_no_padding(tmp_path: Path) -> None:
    """Without a folder there is none, and a folder without one is named."""
    plan = tiny.plan(tmp_path)
    found = model.load_tokenizer(plan.model)
    assert found.pad_token == "<pad>"
    assert model.load_tokenizer(replace(plan.model, path=None)) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(TsplannerError, match=r"No tokenizer could be read from .*empty: put"):
        model.load_tokenizer(replace(plan.model, tokenizer=str(empty)))


def test_a_plan_for_a_gpu_needs_one_here(tmp_path: Path) -> None:
    """The sentence says how to plan for this machine."""
    plan = tiny.plan(tmp_path)
    assert model.training_device(plan.hardware) == torch.device("cpu")
    if not torch.cuda.is_available():
        on_gpu = tiny.with_hardware(plan, accelerator="cuda")
        with pytest.raises(TsplannerError, match=r"PyTorch sees none here: .*--cpu"):
            model.training_device(on_gpu.hardware)


def test_keys_that_are_left_over_or_missing_are_counted() -> None:
    """The first of them is named."""
    model.refuse_other_keys({"missing_keys": [], "unexpected_keys": []}, "f")
    with pytest.raises(TsplannerError, match="in f lacks a and 1 more"):
        model.refuse_other_keys({"missing_keys": ["b", "a"], "unexpected_keys": []}, "f")


def test_a_template_that_only_the_processor_reads_is_the_tokenizers_too(tmp_path: Path) -> None:
    """Older folders of models that see keep it in chat_template.json."""
    ref = tiny.plan(tmp_path).model
    tokenizer = model.load_tokenizer(ref)
    assert tokenizer is not None
    assert not tokenizer.chat_template
    told = {"chat_template": "{{ messages[0].content }}"}
    (Path(str(ref.path)) / "chat_template.json").write_text(json.dumps(told))
    assert model.load_tokenizer(ref).chat_template == told["chat_template"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model_type", "wanted", "runs"),
    [
        ("bloom", "sdpa", "eager"),
        ("gpt_oss", "sdpa", "eager"),
        ("mamba2", "sdpa", "eager"),
        ("llama", "sdpa", "sdpa"),
        ("llama", "eager", "eager"),
        ("bloom", "flash_attention_2", "flash_attention_2"),
    ],
)
def test_a_model_without_sdpa_runs_eager_by_itself(model_type: str, wanted: str, runs: str) -> None:
    """What was asked for by name is not replaced; transformers then refuses it."""
    from transformers import AutoConfig

    assert attention_of(AutoConfig.for_model(model_type), wanted) == runs


def test_a_built_model_says_which_attention_it_runs() -> None:
    """By its config."""
    for name, eager in (("eager", True), ("sdpa", False)):
        built = SimpleNamespace(config=SimpleNamespace(_attn_implementation=name))
        assert runs_eager(built) is eager


def test_infinity_is_read_as_transformers_writes_it() -> None:
    """Mamba's steps have no upper limit."""
    config = {"model_type": "mamba2", "limit": [0.0, {"__float__": "Infinity"}], "rope": {"a": 1}}
    assert configuration_values(config) == {"limit": [0.0, float("inf")], "rope": {"a": 1}}


def test_a_config_alone_of_a_stored_model_builds_plain_weights() -> None:
    """gpt-oss is published in MXFP4; without the files there is nothing to dequantise."""
    stored = {"quant_method": "mxfp4", "modules_to_not_convert": []}
    from transformers import AutoConfig

    config = AutoConfig.for_model("gpt_oss", num_hidden_layers=1, quantization_config=stored)
    model = SimpleNamespace(config={"quantization_config": stored}, has_weights=False)
    plan = SimpleNamespace(model=model, hardware=HardwareSettings())
    use_stored_form(config, plan)
    assert not hasattr(config, "quantization_config")
