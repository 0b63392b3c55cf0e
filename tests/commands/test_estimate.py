"""``tsplanner estimate``: the interface that scripts rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import forked
from tsplanner.planner.gather.cases import case_keys

ROOT = Path(__file__).resolve().parents[2]
QUANTITIES = ("peak_allocated_bytes", "peak_reserved_bytes", "process_bytes", "host_bytes")
EVERY_KEY: dict[str, list[object]] = {
    "finetuning_type": ["lora", "dora", "rslora", "adalora", "full", "freeze"],
    "lora_rank": [1, 64],
    "adalora_init_rank": [12, None],
    "lora_target": [["q_proj", "v_proj"], "all-linear"],
    "modules_to_save": [["embed_tokens"], []],
    "rank_pattern": [[["q_proj", 4]], []],
    "lora_dropout": [0, 0.05],
    "freeze_trainable_layers": [1, 24],
    "model_dtype": ["bf16", "fp16", "fp32"],
    "autocast": ["bf16", "fp16", None],
    "quantization": [None, "int8", "nf4", "nf4-dq", "fp8", "w8a8"],
    "sequence_length": [1, 32768],
    "streamed_layers": [0, 2],
    "inputs_on_device": [None],
    "stream_from_files": [False],
    "passes_together": [None],
    "series_patches": [0, 16],
    "micro_batch_size": [1, 8],
    "token_budget": [None, 4096],
    "row_length": [None, 300.5],
    "gradient_accumulation_steps": [1, 16],
    "gradient_checkpointing": [True, False],
    "checkpointed_layers": [None, 1, 23],
    "attention": ["eager", "sdpa", "flash_attention_2"],
    "loss_kernel": ["plain", "fused"],
    "optimizer": [
        "adamw_torch",
        "adamw_torch_fused",
        "adamw_bnb_8bit",
        "paged_adamw_8bit",
        "adafactor",
        "sgd",
    ],
    "decoder_kernels": ["reference", "lean", "fused", "compiled"],
    "expandable_segments": [True, False],
    "world_size": [1, 8],
    "nodes": [1],
    "fsdp": [False, True],
    "fsdp_per_host": [False],
    "fsdp_whole_model": [False],
    "zero_stage": [0, 1, 2, 3],
    "offload_optimizer": [False],
    "offload_param": [False],
    "upcast_unquantized": [True, False],
    "deepspeed": [None],
    "device": ["H200", "RTX 3090", None],
    "recipe": ["unsloth", None],
}


def estimate(
    folder: Path, *words: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the verb in ``folder``, off line."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    if stdin is None:
        return forked.run(("estimate", *words), folder, environment)
    return subprocess.run(
        [sys.executable, "-m", "tsplanner", "estimate", *words],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        input=stdin,
        timeout=60,
    )


def results(folder: Path, cases: list[object]) -> list[dict[str, object]]:
    """The documents that a file of cases gives; a ``bytes`` case is a line as it is."""
    rows = [case if isinstance(case, bytes) else json.dumps(case).encode() for case in cases]
    (folder / "cases.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    done = estimate(folder, "--cases", "cases.jsonl")
    assert done.stderr == b""
    found = [json.loads(row) for row in done.stdout.decode().splitlines()]
    # A script need not look into the lines to know whether all cases have an estimate.
    assert done.returncode == int(any("error" in row for row in found))
    return found


def test_one_configuration_is_one_document(tmp_path: Path) -> None:
    """Four quantities with their bounds, parameters, components and assumptions."""
    done = estimate(
        tmp_path, "--model", "chatts-14b", "--lora-target", "q_proj,k_proj,v_proj", "--json"
    )
    document = json.loads(done.stdout)
    assert set(document) == {
        *QUANTITIES,
        "parameters",
        "components",
        "peak_instant",
        "assumptions",
    }
    for name in QUANTITIES:
        assert set(document[name]) == {"expected", "upper"}
        assert 0 < document[name]["expected"] <= document[name]["upper"]
    assert document["parameters"] == {"total": 14_876_137_488, "trainable": 9_020_480}
    assert sum(document["components"].values()) == document["process_bytes"]["expected"]
    assert document["assumptions"]


def test_a_pipe_gets_json_without_asking(tmp_path: Path) -> None:
    """The bare estimator is for programs; words are for terminals."""
    bare, asked = (
        estimate(tmp_path, "--model", "qwen2.5-0.5b", *more).stdout for more in ((), ("--json",))
    )
    assert json.loads(bare) == json.loads(asked)


def test_every_key_of_a_case_has_its_values(tmp_path: Path) -> None:
    """Each documented value of each documented key is estimated, absent keys are defaults."""
    assert {"model", *EVERY_KEY} == set(case_keys())
    cases: list[object] = [
        {
            "model": "qwen2.5-0.5b",
            key: value,
            **({"finetuning_type": "adalora"} if key == "adalora_init_rank" else {}),
        }
        for key, values in EVERY_KEY.items()
        for value in values
    ]
    cases.append(
        {
            "model": "qwen2.5-0.5b",
            "zero_stage": 3,
            "world_size": 2,
            "offload_optimizer": True,
            "offload_param": True,
        }
    )
    found = results(tmp_path, cases)
    assert [row["case"] for row in found] == cases
    assert [row.get("error") for row in found] == [None] * len(cases)


def dashed(key: str) -> str:
    """A key as its flag."""
    return key.replace("_", "-")


def typed(value: object) -> str:
    """A value as it is typed."""
    words = {"None": "null", "True": "on", "False": "off"}
    return ",".join(value) if isinstance(value, list) else words.get(str(value), str(value))


def test_flags_and_cases_are_the_same_interface(tmp_path: Path) -> None:
    """One configuration by flags is the same configuration as a case."""
    case = {
        "model": "qwen2.5-0.5b",
        "finetuning_type": "adalora",
        "lora_rank": 4,
        "adalora_init_rank": 6,
        "lora_target": ["q_proj"],
        "lora_dropout": 0.1,
        "model_dtype": "fp16",
        "autocast": None,
        "quantization": None,
        "sequence_length": 512,
        "micro_batch_size": 2,
        "gradient_checkpointing": False,
        "attention": "eager",
        "loss_kernel": "fused",
        "optimizer": "sgd",
        "world_size": 2,
        "zero_stage": 2,
        "offload_optimizer": True,
        "device": "RTX 2080 Ti 22GiB",
    }
    flags = [word for key, value in case.items() for word in (f"--{dashed(key)}", typed(value))]
    by_flags = json.loads(estimate(tmp_path, *flags).stdout)
    (by_case,) = results(tmp_path, [case])
    assert by_case == {"case": case, **by_flags}


def test_bad_cases_are_told_in_place_and_the_rest_go_on(tmp_path: Path) -> None:
    """Order is kept: every line has its answer, whatever stands between them."""
    good = {"model": "qwen2.5-0.5b"}
    bad: list[tuple[object, str]] = [
        ({"model": "qwen2.5-0.5c"}, 'Did you mean "qwen2.5-0.5b"?'),
        ({"model": "x" * 5000}, "cannot be looked up"),
        ({"model": None}, "model is missing"),
        ({}, "model is missing"),
        ({**good, "lora_rnk": 8}, 'unknown key "lora_rnk". Did you mean "lora_rank"?'),
        ({**good, "optimizer": "adamw"}, "optimizer must be one of adamw_torch,"),
        ({**good, "lora_rank": 0}, "lora_rank must be at least 1, not 0"),
        ({**good, "lora_rank": 8.0}, "lora_rank must be a whole number, not 8.0"),
        ({**good, "lora_rank": True}, "lora_rank must be a whole number, not True"),
        ({**good, "lora_rank": "8"}, "lora_rank must be a whole number, not '8'"),
        ({**good, "lora_rank": None}, "lora_rank must not be null"),
        ({**good, "lora_rank": 10**300}, "lora_rank must be at most"),
        ({**good, "lora_rank": 900}, "above the smallest side"),
        ({**good, "lora_target": []}, "lora_target must be a list of module names"),
        ({**good, "lora_target": ["c_attn"]}, '"c_attn" is no linear of qwen2'),
        ({**good, "gradient_checkpointing": 1}, "must be true or false, not 1"),
        (
            {"model": "opt-125m", "sequence_length": 2049},
            "above the model's max_position_embeddings",
        ),
        ({**good, "zero_stage": 5}, "zero_stage must be 0, 1, 2 or 3"),
        ({**good, "offload_param": True}, "offload_param needs zero_stage 3"),
        ({**good, "finetuning_type": "full", "quantization": "nf4"}, "cannot be trained"),
        ({**good, "device": "RTX 2080 Ti 22GiB"}, "bf16 needs compute capability 8.0"),
        ({**good, "device": "RTX 6000"}, "RTX 6000 Ada 48GiB"),
        ({**good, "device": "cpu"}, 'device "cpu" is no GPU'),
        ({**good, "device": 5}, "device must be the name of a GPU"),
        ([good], "a case must be a JSON object"),
        (7, "a case must be a JSON object"),
    ]
    lines: list[object] = [good]
    for case, _ in bad:
        lines += [case, good]
    found = results(tmp_path, lines)
    assert [row["case"] for row in found] == lines
    assert all("error" not in row for row in found[::2])
    for row, (_, says) in zip(found[1::2], bad, strict=True):
        assert set(row) == {"case", "error"}
        assert says in str(row["error"])


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"not json",
        b"\xff\xfe\x00",
        b'{"model": "qwen2.5-0.5b", "lora_dropout": NaN}',
        b"[" * 99_999,
    ],
    ids=["cut", "words", "binary", "nan", "deep"],
)
def test_a_line_that_is_no_json_is_told_and_passed(text: bytes, tmp_path: Path) -> None:
    """A broken line spoils itself alone; empty lines are no cases."""
    good = {"model": "qwen2.5-0.5b"}
    first, second, third = results(tmp_path, [good, b"", text, b"  ", good])
    assert "not valid JSON" in str(second["error"])
    assert isinstance(second["case"], str)
    assert first == third


def test_cases_come_from_stdin_too(tmp_path: Path) -> None:
    """A dash stands for stdin."""
    lines = b'{"model": "qwen2.5-0.5b"}\n\xff\n{"model": "qwen3-0.6b"}'
    done = estimate(tmp_path, "--cases", "-", stdin=lines)
    assert done.returncode == 1, done.stderr
    totals = [
        json.loads(row).get("parameters", {}).get("total") for row in done.stdout.splitlines()
    ]
    assert totals == [494_032_768, None, 596_049_920]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "model is missing"),
        (("--model", "qwen2.5-0.5c"), 'Did you mean "qwen2.5-0.5b"?'),
        (("--model", "qwen2.5-0.5b", "--zero-stage", "7"), "zero_stage must be 0, 1, 2 or 3"),
        (("--model", "qwen2.5-0.5b", "--lora-dropout", "2"), "lora_dropout must be in [0, 1)"),
        (("--model", "qwen2.5-0.5b", "--lora-rank", "0"), "must be at least 1, not 0"),
        (("--model", "qwen2.5-0.5b", "--device", "RTX 6000"), "RTX 6000 Ada 48GiB"),
        (("--cases", "nope.jsonl"), "--cases nope.jsonl cannot be read"),
        (("--cases", "-", "--lora-rank", "8"), "exclude each other"),
        (("--model", "qwen2.5-0.5b", "--squence-length", "8"), 'Did you mean "--sequence-length"?'),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_a_case_by_flags_that_cannot_be_is_a_usage_error(
    words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    """One sentence, status 2, nothing on stdout."""
    done = estimate(tmp_path, *words, stdin=b"")
    assert done.returncode == 2, done.stderr
    assert done.stdout == b""
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
