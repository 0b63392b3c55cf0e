"""Folders whose weights are stored quantised, loaded by the real libraries as plans size them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from memory_models.settings import Attention, Dtype, Quantization
from memory_models.states.weights import weight_bytes
from tests.support import tiny
from tests.support.stored_folders import bitsandbytes_folder, fp8_folder, mxfp4_folder
from tests.support.verb import run_verb
from tsplanner.errors import UsageError
from tsplanner.models.source import read_model
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins
from tsplanner.training.adapters import apply_method
from tsplanner.training.base_model.build import build_model
from tsplanner.training.streaming.base import StreamedBase

NF4_DQ = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
}
KEPT = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "llm_int8_skip_modules": ["lm_head", "model.layers.1.mlp", "q_proj"],
}


def planned(folder: Path, **pins: object) -> Plan:
    """The plan of a folder on the CPU."""
    subject = Subject(model=str(folder), cpu=True, learning={"cutoff_len": 32}, pins=Pins(**pins))
    return choose(plan_request(subject, folder / "saves")).plan


def held_bytes(model: torch.nn.Module) -> int:
    """Bytes of a model's parameters, and of the constants of packed matrices."""
    seen: dict[int, int] = {}

    def add(tensor: Any) -> None:
        if isinstance(tensor, torch.Tensor):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = -(-storage.nbytes() // 512) * 512

    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            add(parameter)
            for name in ("absmax", "code", "offset", "state2.absmax", "state2.code"):
                found: Any = getattr(parameter, "quant_state", None)
                for part in name.split("."):
                    found = getattr(found, part, None)
                add(found)
            add(getattr(parameter, "SCB", None))
    return sum(seen.values())


@pytest.mark.parametrize(
    ("settings", "quantization"),
    [
        (NF4_DQ, Quantization.NF4_DQ),
        (KEPT, Quantization.NF4),
        ({"load_in_4bit": True}, Quantization.NF4),
        ({"load_in_8bit": True}, Quantization.INT8),
    ],
)
def test_a_bitsandbytes_folder_lies_in_memory_as_it_was_sized(
    tmp_path: Path, settings: dict[str, Any], quantization: Quantization
) -> None:
    """Matrices packed as stored, the rest in the plan's dtype, and an adapter that learns on it."""
    pytest.importorskip("bitsandbytes")
    folder = bitsandbytes_folder(tmp_path / "model", **settings)
    plan = planned(folder)
    assert plan.hardware.base.quantization is quantization
    model = build_model(plan, torch.device("cpu"))
    told = weight_bytes(plan.architecture, Dtype.FP32, quantization, upcast=False)
    # A tiny matrix's constants are smaller than the blocks that they are rounded to.
    assert held_bytes(model) == pytest.approx(told, abs=14 * 2048)
    assert_learns(plan, model)


@pytest.mark.parametrize("settings", [NF4_DQ, {"load_in_8bit": True}])
def test_a_bitsandbytes_folder_is_streamed_as_it_is_stored(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """What comes to the device is what a resident base has, and an adapter learns on it."""
    pytest.importorskip("bitsandbytes")
    plan = planned(bitsandbytes_folder(tmp_path / "model", **settings))
    resident = build_model(plan, torch.device("cpu"))
    layers = resident.config.num_hidden_layers
    plan = tiny.with_hardware(plan, streamed_layers=layers, gradient_checkpointing=True)
    streamed = StreamedBase(plan, torch.device("cpu"))
    trained = apply_method(plan, streamed.model, 4)
    major = streamed.attach(trained)
    ids = torch.arange(12).view(1, 12)
    trained.eval()
    with torch.no_grad():
        found = trained(input_ids=ids).logits
        expected = resident.eval()(input_ids=ids).logits
    assert torch.equal(found, expected)
    trained.train()

    def one() -> float:
        loss = trained(input_ids=ids, labels=ids).loss
        loss.backward()
        return float(loss)

    assert major.train([one]) == [float(resident.train()(input_ids=ids, labels=ids).loss)]


def test_a_folder_that_is_dequantised_while_it_is_loaded_is_plain(tmp_path: Path) -> None:
    """Every parameter is in the plan's dtype, and as many as the config says."""
    plan = planned(fp8_folder(tmp_path / "model"))
    assert plan.hardware.base.quantization is None
    model = build_model(plan, torch.device("cpu"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in model.parameters()) == (
        plan.model.parameters_total
    )
    assert_learns(plan, model)


def assert_learns(plan: Plan, model: Any) -> None:
    """Steps on one batch lower its loss."""
    wrapped = apply_method(plan, model, 4)
    wrapped.train()
    tokens = torch.arange(24).reshape(2, 12)
    trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(4):
        loss = wrapped(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert sum(each.numel() for each in trained) == plan.model.parameters_trainable


def test_gpt_oss_in_mxfp4_is_dequantised_by_the_worker(tmp_path: Path) -> None:
    """The experts become plain tensors of the plan's dtype, with or without kernels for MXFP4."""
    folder = mxfp4_folder(tmp_path / "model")
    plan = tiny.plan(tmp_path / "plan")
    config = json.loads((folder / "config.json").read_text())
    model = replace(plan.model, path=str(folder), config=config, model_type="gpt_oss")
    kernels = replace(plan.hardware.kernels, attention=Attention.EAGER)
    hardware = replace(plan.hardware, kernels=kernels)
    built = build_model(replace(plan, model=model, hardware=hardware), torch.device("cpu"))
    experts = built.model.layers[0].mlp.experts
    assert (experts.gate_up_proj.dtype, tuple(experts.gate_up_proj.shape)) == (
        torch.float32,
        (4, 64, 128),
    )


def test_what_a_folder_fixes_cannot_be_pinned_to_something_else(tmp_path: Path) -> None:
    """The plan would be of weights that nobody has."""
    pytest.importorskip("bitsandbytes")
    folder = bitsandbytes_folder(tmp_path / "model", **NF4_DQ)
    assert planned(folder, quantization=Quantization.NF4_DQ)
    with pytest.raises(UsageError, match="quantization int8 is not possible"):
        planned(folder, quantization=Quantization.INT8)
    assert read_model(str(folder)).has_weights


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["nf4-dq", "int8", "fp8"])
def test_plan_probe_train_and_merge_run_on_stored_folders(tmp_path: Path, stored: str) -> None:
    """What plan says fits is probed, trained and merged into whole matrices."""
    pytest.importorskip("bitsandbytes")
    folder = tmp_path / "model"
    if stored == "fp8":
        fp8_folder(folder)
    else:
        bitsandbytes_folder(folder, **(NF4_DQ if stored == "nf4-dq" else {"load_in_8bit": True}))
    words = tiny.write_model(tmp_path / "words")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(words / name, folder / name)
    rows = tiny.write_dataset(tmp_path / "rows.jsonl")
    for line in (
        ("plan", "--cpu", "--model", str(folder), "--dataset", str(rows), "--epochs", "1"),
        ("probe", "--steps", "3"),
        ("train",),
    ):
        done = run_verb(tmp_path, *line)
        assert done.returncode == 0, done.stderr
    assert "done   2 steps" in done.stdout  # 18 rows in batches of 16
    merge_line = next(line for line in done.stdout.splitlines() if line.startswith("merge  "))
    done = run_verb(tmp_path, *merge_line.split()[2:])
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "saves").rglob("merged/config.json")
    assert "quantization_config" not in written.read_text()
