"""Base and adapter become one model, whatever the adapter and however the base lies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from memory_models.settings import Dtype, Quantization  # noqa: E402
from tests.support import multi_lora, tiny  # noqa: E402
from tests.support.chatts_plan import plan as chatts_plan  # noqa: E402
from tsplanner.errors import TsplannerError  # noqa: E402
from tsplanner.models.source import read_architecture  # noqa: E402
from tsplanner.planner.plan import Plan  # noqa: E402
from tsplanner.training.job import Job, JobKind, Status  # noqa: E402
from tsplanner.training.merging import merge as module  # noqa: E402
from tsplanner.training.merging.merge import (  # noqa: E402
    merge,
    shares_head,
    untie,
    with_adapter,
    write,
    written_config,
    written_model,
)
from tsplanner.training.merging.records import Merged, MergeRequest  # noqa: E402

DORA, ADALORA = {"finetuning_type": "dora"}, {"finetuning_type": "adalora"}
BF16 = {"model_dtype": Dtype.BF16, "autocast": Dtype.BF16}


def tied(plan: Plan) -> Plan:
    """The plan with a base whose embedding is its head."""
    from safetensors.torch import load_file, save_file

    folder, config = Path(str(plan.model.path)), {**tiny.CONFIG, "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    own = read_architecture(config, name="tiny", source="test")
    return replace(plan, model=replace(plan.model, config=config, architecture=own))


def trained(plan: Plan, folder: Path) -> MergeRequest:
    """A merge of the plan once it is trained far from its base."""
    plan = tiny.with_learning(plan, num_train_epochs=3, learning_rate=2e-2)
    record = multi_lora.run_here(Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder / "run")))
    assert record.status is Status.OK, record.message
    return MergeRequest(
        plan=plan,
        adapter=str(folder / "run" / "adapter"),
        output=str(folder / "merged"),
        dtype=Dtype.FP32,
    )


def names_in(request: MergeRequest) -> set[str]:
    """Names of the tensors that were written."""
    from safetensors import safe_open

    found = set()
    for file in Path(request.output).glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            found |= set(tensors.keys())
    return found


def same_model(found: Merged, most: float) -> None:
    """The merged model answers as base and adapter, and not as the base."""
    assert found.compared.difference < most < found.compared.effect / 4
    assert found.compared.from_dataset
    assert found.files == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "learning",
    [
        {},
        DORA,
        {"finetuning_type": "rslora"},
        ADALORA,
        {"modules_to_save": ("embed_tokens", "lm_head")},
        {"lora_target": ("embed_tokens", "lm_head", "q_proj")},
        {"rank_pattern": (("q_proj", 8),), "alpha_pattern": (("q_proj", 2.0),)},
    ],
    ids=["lora", "dora", "rslora", "adalora", "copies", "vocabulary", "patterns"],
)
def test_every_adapter_merges(tmp_path: Path, learning: dict[str, Any]) -> None:
    """In fp32 nothing but the order of sums is left between both."""
    request = trained(tiny.with_learning(tiny.plan(tmp_path), **learning), tmp_path)
    same_model(merge(request, lambda _: None), 1e-5)
    assert names_in(request) == set(tiny._shapes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "learning",
    [
        {},
        {"modules_to_save": ("embed_tokens",)},
        {"lora_target": ("embed_tokens", "q_proj")},
        {"lora_target": ("lm_head", "q_proj")},
    ],
    ids=["layers", "copy", "embedding", "head"],
)
def test_a_head_is_written_where_it_is_the_embeddings_no_more(
    tmp_path: Path, learning: dict[str, Any]
) -> None:
    """An adapter on one of the two leaves the other as it was."""
    plan = tiny.with_learning(tied(tiny.plan(tmp_path)), **learning)
    request = trained(plan, tmp_path)
    same_model(merge(request, lambda _: None), 1e-5)
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["tie_word_embeddings"] is not bool(learning)
    assert ("lm_head.weight" in names_in(request)) == bool(learning)


@pytest.mark.slow
@pytest.mark.parametrize("quantization", list(Quantization))
def test_a_rounded_base_keeps_the_values_that_it_was_rounded_to(
    tmp_path: Path, quantization: Quantization
) -> None:
    """Its matrices are whole in the files; products in 8 bits alone leave more than sums do."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), quantization=quantization)
    request = trained(plan, tmp_path)
    four_bit = quantization in (Quantization.NF4, Quantization.NF4_DQ)
    same_model(merge(request, lambda _: None), 1e-5 if four_bit else 0.02)
    assert names_in(request) == set(tiny._shapes())


@pytest.mark.slow
def test_half_precision_leaves_its_rounding(tmp_path: Path) -> None:
    """And the config says what was written."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), quantization=Quantization.NF4, **BF16)
    request = replace(trained(plan, tmp_path), dtype=Dtype.BF16)
    told: list[str] = []
    same_model(merge(request, told.append), 0.03)
    assert told == ["base loaded", "adapter asked", "written"]
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"
    assert (tmp_path / "merged" / "tokenizer.json").is_file()


@pytest.mark.slow
def test_chatts_merges_with_its_encoder(tmp_path: Path) -> None:
    """Adapters lie on the encoder, too; its rows hold series."""
    plan = chatts_plan(tmp_path)
    request = trained(plan, tmp_path)
    found = merge(request, lambda _: None)
    assert found.compared.difference < 1e-4 < found.compared.effect
    kept = json.loads((Path(str(plan.model.path)) / "config.json").read_text())
    written = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert written["ts"] == kept["ts"]
    assert written["architectures"] == kept["architectures"]


@pytest.mark.slow
def test_what_is_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the adapter is lost on the way."""
    request = trained(tiny.plan(tmp_path), tmp_path)
    monkeypatch.setattr(module, "merged", lambda adapted, dtype: adapted.unload())
    with pytest.raises(TsplannerError, match="is not the adapted one: its logits are off by"):
        merge(request, lambda _: None)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    """Its matrices have other sides."""
    peft = pytest.importorskip("peft")
    linears = [torch.nn.Sequential(torch.nn.Linear(side, side)) for side in (4, 8)]
    config = peft.LoraConfig(target_modules=["0"])
    peft.get_peft_model(linears[0], config).save_pretrained(tmp_path)
    with pytest.raises(TsplannerError, match="does not fit its base"):
        with_adapter(linears[1], str(tmp_path))


class Parts:
    """A model that has an embedding and a head."""

    def __init__(self, embedding: Any, head: Any) -> None:
        self.embedding, self.head = embedding, head

    def get_base_model(self) -> Parts:
        """Itself."""
        return self

    def get_input_embeddings(self) -> Any:
        """The embedding."""
        return self.embedding

    def get_output_embeddings(self) -> Any:
        """The head."""
        return self.head


def test_a_shared_weight_is_copied_only_where_an_adapter_sits_on_it() -> None:
    """Otherwise the merge would change both."""
    embedding, head = torch.nn.Embedding(4, 2), torch.nn.Linear(2, 4, bias=False)
    head.weight = embedding.weight
    model = Parts(embedding, head)
    untie(model, [])
    assert shares_head(model)
    untie(model, [embedding])
    assert not shares_head(model)
    assert torch.equal(head.weight, embedding.weight)
    assert not shares_head(Parts(embedding, None))


def test_the_written_config_is_the_bases_without_its_quantisation(tmp_path: Path) -> None:
    """In both parts of a model that also sees."""
    plan = tiny.plan(tmp_path)
    path = Path(str(plan.model.path)) / "config.json"
    inner = {"tie_word_embeddings": True, "torch_dtype": "float16", "quantization_config": {}}
    path.write_text(json.dumps({"auto_map": {"a": "b"}, "text_config": inner}))
    request = MergeRequest(plan=plan, adapter="a", output="o", dtype=Dtype.BF16)
    assert written_config(request, tied=True) == {
        "auto_map": {"a": "b"},
        "dtype": "bfloat16",
        "text_config": {"tie_word_embeddings": True, "torch_dtype": "bfloat16"},
    }
    assert written_config(request, tied=False)["text_config"]["tie_word_embeddings"] is False
    path.write_text("[]")
    with pytest.raises(TsplannerError, match=r"config\.json is no object"):
        written_config(request, tied=True)


def test_code_of_the_base_goes_with_its_weights(tmp_path: Path) -> None:
    """A model that ships its own code needs it wherever it is loaded."""
    plan, output = tiny.plan(tmp_path), tmp_path / "merged"
    (Path(str(plan.model.path)) / "modeling.py").write_text("pass\n")

    class Saved(Parts):
        """Writes nothing of its own."""

        config = None

        def save_pretrained(self, folder: Path, max_shard_size: str) -> None:
            """Make the folder."""
            folder.mkdir()

    request = MergeRequest(plan=plan, adapter="a", output=str(output), dtype=Dtype.FP32)
    write(Saved(None, None), request, output)
    assert (output / "modeling.py").read_text() == "pass\n"
    assert (output / "tokenizer.json").is_file()
    found = written_model(plan.model, output)
    assert found.path == str(output)
    assert found.config["dtype"] == "float32"
