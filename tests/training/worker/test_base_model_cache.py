"""One base for several jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from memory_models.settings import Attention, FinetuningType, Quantization
from tests.support import tiny
from tsplanner.planner.plan import Plan
from tsplanner.training import adapters
from tsplanner.training.job import Job, JobKind
from tsplanner.training.kernels.fused_loss import use_fused_loss
from tsplanner.training.worker import build, execute
from tsplanner.training.worker.base_model_cache import KeptBase, base_key
from tsplanner.training.worker.stop_switch import StopSwitch

CPU = torch.device("cpu")


def test_only_adapters_on_an_unsharded_base_share_it(tmp_path: Path) -> None:
    """What an adapter learns is no part of the key; how the base is kept is."""
    loaded = tiny.plan(tmp_path)
    # Weights that are drawn follow from the config; those of a folder from its path.
    plan = replace(loaded, model=replace(loaded.model, has_weights=False))
    assert base_key(plan) != base_key(loaded)
    assert base_key(plan) == base_key(tiny.with_learning(plan, lora_rank=64, learning_rate=1.0))
    assert base_key(tiny.with_learning(plan, finetuning_type=FinetuningType.FULL)) is None
    assert base_key(tiny.with_hardware(plan, zero_stage=2)) is None
    others = [
        tiny.with_hardware(plan, attention=Attention.EAGER),
        tiny.with_hardware(plan, quantization=Quantization.NF4),
        replace(plan, model=replace(plan.model, config={**plan.model.config, "vocab_size": 130})),
    ]
    keys = {base_key(each) for each in (plan, *others)}
    assert len(keys) == 4


def test_checkpointing_counts_where_a_quantised_base_is_cast(tmp_path: Path) -> None:
    """PEFT's preparation leaves hooks; without the cast there is no preparation."""
    plan = tiny.plan(tmp_path)
    on = tiny.with_hardware(plan, gradient_checkpointing=True)
    assert base_key(plan) == base_key(on)
    quantised = [tiny.with_hardware(each, quantization=Quantization.NF4) for each in (plan, on)]
    assert base_key(quantised[0]) != base_key(quantised[1])
    plain = [tiny.with_hardware(each, upcast_unquantized=False) for each in quantised]
    assert base_key(plain[0]) == base_key(plain[1]) != base_key(quantised[0])


def test_a_kept_base_is_bare_again_for_the_next_job(tmp_path: Path) -> None:
    """No adapter, no fused loss, no checkpointing, the same object and the same weights."""
    plan, kept = tiny.plan(tmp_path), KeptBase()
    base = kept.take(plan, CPU)
    names = {name for name, _ in base.named_parameters()}
    before = base.lm_head.weight.clone()
    use_fused_loss(base)
    adapters.apply_method(plan, base, 10)
    base.gradient_checkpointing_enable()
    kept.clear()
    assert kept.take(plan, CPU) is base
    assert {name for name, _ in base.named_parameters()} == names
    assert "forward" not in base.__dict__
    assert not base.is_gradient_checkpointing
    assert torch.equal(base.lm_head.weight, before)


def test_another_base_takes_the_place_of_the_one_that_is_kept(tmp_path: Path) -> None:
    """And a base that cannot be shared is let go."""
    plan, kept = tiny.plan(tmp_path), KeptBase()
    base = kept.take(plan, CPU)
    other = kept.take(tiny.with_hardware(plan, attention=Attention.EAGER), CPU)
    assert other is not base
    full = tiny.with_learning(plan, finetuning_type=FinetuningType.FULL)
    kept.take(full, CPU)
    kept.clear()
    assert kept.model is None


def test_a_kept_base_makes_room_for_one_that_is_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a probe of the plan that small cards need would find the card full of the last one's."""
    plan, kept = tiny.plan(tmp_path), KeptBase()
    assert execute.execute_one(probe(plan, tmp_path / "resident"), StopSwitch(), kept) == 0
    kept.clear()
    assert kept.model is not None
    seen: list[object] = []
    real = build.StreamedBase

    def built(*arguments: Any) -> Any:
        seen.append(kept.model)
        return real(*arguments)

    monkeypatch.setattr(build, "StreamedBase", built)
    streamed = tiny.with_hardware(plan, streamed_layers=2, gradient_checkpointing=True)
    assert execute.execute_one(probe(streamed, tmp_path / "streamed"), StopSwitch(), kept) == 0
    assert seen == [None]


def probe(plan: Plan, folder: Path) -> Path:
    """The file of a probe's job."""
    folder.mkdir()
    job = Job(kind=JobKind.PROBE, plan=plan, folder=str(folder), probe_steps=1)
    path = folder / "job.json"
    path.write_bytes(msgspec.json.encode(job))
    return path
