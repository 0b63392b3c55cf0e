"""Files for LLaMA-Factory, and plans that it refuses."""

from __future__ import annotations

import json

import pytest

from memory_models.settings import (
    Dtype,
    FinetuningType,
)
from tests.support.exports import golden, said, written
from tests.support.golden import CASES, Case, case
from tests.support.sorts import cpu
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.llamafactory.export import remarks


def test_chatts_gets_the_forks_form() -> None:
    """Its template, its two arguments, remote code that is said, its versions."""
    each = CASES["llamafactory"]["chatts_14b_lora_zero3"]
    texts, found = written(each), said(each)
    assert (found["template"], found["trust_remote_code"]) == ("chatts", True)
    assert (found["timeseries_sft_lr"], found["train_timeseries_modules"]) == (1e-5, True)
    head = texts["train.yaml"].split("\n\n", maxsplit=1)[0]
    assert "trust_remote_code is true" in head
    assert "transformers >=4.49,<=4.52.4" in head
    assert "deepspeed >=0.10,<=0.16.9" in head
    assert "deepspeed>=0.10.0,<=0.16.9\n" in texts["requirements.txt"]
    entries = json.loads(texts["dataset_info.json"])
    assert entries["alerts"]["columns"] == {
        "prompt": "input",
        "response": "output",
        "system": "system",
        "history": "history",
        "timeseries": "timeseries",
    }
    assert entries[found["eval_dataset"]]["file_name"] == "rows/test.jsonl"


def test_token_ids_are_put_where_llamafactory_looks_for_them() -> None:
    """A folder saved by `datasets`, one for each machine; no description of columns."""
    one, two = (written(CASES["llamafactory"][name]) for name in ("lora", "two_machines"))
    assert "dataset_info.json" not in one
    assert one["train.sh"].endswith(
        "save_to_disk(sys.argv[1])' tokenized\nexec llamafactory-cli train train.yaml\n"
    )
    own = '"tokenized-$NODE_RANK"'
    assert two["train.sh"].endswith(
        f"argv[1])' {own}\nexec llamafactory-cli train train.yaml tokenized_path={own}\n"
    )
    assert golden("lora")["tokenized_path"] == "tokenized"


def test_packing_is_off_and_the_head_says_how_to_turn_it_on() -> None:
    """It packs only rows that it tokenises itself."""
    found = golden("lora")
    assert (found["packing"], found["neat_packing"]) == (False, False)
    head = written(CASES["llamafactory"]["lora"])["train.yaml"]
    assert "to lay short rows end to end export with --rows messages" in head


def test_text_models_run_no_remote_code() -> None:
    """Nothing there needs it."""
    assert "trust_remote_code" not in golden("lora")
    assert written(CASES["llamafactory"]["lora"])["requirements.txt"] == "llamafactory==0.9.5\n"


def test_the_8b_needs_a_newer_transformers() -> None:
    """Its own code imports what 4.52 brought."""
    texts = written(CASES["llamafactory"]["chatts_8b_dora"])
    assert "transformers>=4.52.1,<=4.52.4\n" in texts["requirements.txt"]


def test_the_fused_loss_is_ligers_where_it_knows_the_family() -> None:
    """Never ChatTS's, where it does nothing."""
    assert golden("fused_loss_of_liger")["enable_liger_kernel"] is True
    assert "enable_liger_kernel" not in golden("chatts_8b_lora_two_gpus")
    head = written(CASES["llamafactory"]["chatts_8b_lora_two_gpus"])["train.yaml"]
    assert "all logits are kept instead" in head


def test_selective_checkpointing_becomes_full_and_is_said() -> None:
    """LLaMA-Factory has one switch for all layers."""
    head = written(CASES["llamafactory"]["paged_8bit_flash"])["train.yaml"]
    assert "all are checkpointed" in head


def test_one_gpu_starts_without_torchrun() -> None:
    """DDP around one rank would hold every gradient twice; DeepSpeed cannot do without."""
    assert "FORCE_TORCHRUN" not in written(CASES["llamafactory"]["lora"])["train.sh"]
    sharded = case("qwen2.5-7b", zero_stage=3, offload_param=True)
    assert "FORCE_TORCHRUN=1" in written(sharded)["train.sh"]


def test_several_machines_are_numbered_by_hand() -> None:
    """Each is told its number and where the first one is."""
    text = written(CASES["llamafactory"]["two_machines"])["train.sh"]
    assert "export NNODES=2\n" in text
    assert "export NPROC_PER_NODE=2\n" in text
    assert "${NODE_RANK:?" in text
    assert "${MASTER_ADDR:?" in text


@pytest.mark.parametrize(
    ("short", "says"),
    [
        (Case(cpu(), ExportOptions(weights="x")), "chooses its precision by the GPU"),
        (
            case("qwen2.5-7b", learning={"lora_alpha": 4.5}),
            "whole numbers for lora_alpha, not 4.5: plan again",
        ),
        (case("qwen2.5-7b", model_dtype=Dtype.FP32, autocast=None), "--model-dtype bf16"),
    ],
    ids=["CPU", "alpha", "fp32"],
)
def test_what_it_cannot_do_is_refused(short: Case, says: str) -> None:
    """In one sentence that ends with what to do."""
    with pytest.raises(TsplannerError, match=says):
        written(short)


def test_adalora_is_refused_with_what_to_do() -> None:
    """It has none, whatever the package is called there."""
    with pytest.raises(TsplannerError, match=r"no adalora: plan again .* lora, dora or rslora"):
        written(case("qwen2.5-7b", learning={"finetuning_type": FinetuningType.ADALORA}))


def test_deepspeeds_file_says_what_the_yaml_says() -> None:
    """Else Trainer refuses both."""
    for name, each in CASES["llamafactory"].items():
        texts = written(each)
        if "ds_config.json" not in texts:
            continue
        found, config = golden(name), json.loads(texts["ds_config.json"])
        assert config["bf16"]["enabled"] is found["bf16"]
        assert config["fp16"]["enabled"] is found["fp16"]
        assert config["zero_optimization"]["reduce_bucket_size"] == "auto"


def test_remote_code_is_the_only_remark() -> None:
    """Only ChatTS's models bring code of their own."""
    assert remarks(*CASES["llamafactory"]["lora"]) == []
    (remark,) = remarks(*CASES["llamafactory"]["chatts_8b_dora"])
    assert remark.startswith("trust_remote_code is true")
