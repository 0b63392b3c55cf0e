"""Each trial on a shared base learns what it learns alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import (
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Quantization,
)
from tests.support import multi_lora, tiny
from tests.support.chatts_plan import plan as chatts_plan
from tsplanner.planner.multi_lora import refusal
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.training.job import JobKind, Status

pytestmark = pytest.mark.slow

VALUES = ("loss", "eval_loss", "learning_rate", "epoch", "step")
NORMS = ("grad_norm",)


def compare(plan: Plan, learning: list[LearningSettings], folder: Path, within: float) -> None:
    """Every line of every trial's metrics.jsonl, on a shared base and alone."""
    record = multi_lora.run_here(multi_lora.shared_job(plan, folder / "shared", learning))
    assert record.status is Status.OK, record.message
    for number, settings in enumerate(learning):
        solo = multi_lora.alone(plan, settings, folder / f"solo-{number}")
        own = multi_lora.record_in(folder / "shared" / str(number))
        assert (own.status, own.steps, own.epochs) == (Status.OK, solo.steps, solo.epochs)
        lines = multi_lora.lines_in(folder / "shared" / str(number))
        expected = multi_lora.lines_in(folder / f"solo-{number}")
        assert [list(line) for line in lines] == [list(line) for line in expected]
        assert values(lines, VALUES) == pytest.approx(values(expected, VALUES), abs=within)
        # A norm is a sum over all weights, of any size: fp32 rounds it in proportion.
        norms = values(expected, NORMS)
        assert values(lines, NORMS) == pytest.approx(norms, abs=within, rel=within)


def values(lines: list[dict[str, Any]], keys: tuple[str, ...]) -> list[float]:
    """Their numbers in order."""
    return [float(line[key]) for line in lines for key in keys if key in line]


@pytest.mark.parametrize(
    "hardware",
    [
        {},
        {"loss_kernel": LossKernel.FUSED, "micro_batch_size": 4},
        {"gradient_checkpointing": True, "checkpointed_layers": 2},
    ],
    ids=["plain", "fused", "checkpointed"],
)
def test_three_unlike_trials_have_their_solo_curves(
    tmp_path: Path, hardware: dict[str, Any]
) -> None:
    """Ranks 2, 4 and 8 with schedules, clips, targets and seeds of their own, in fp32."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), **hardware)
    compare(plan, multi_lora.trials(plan), tmp_path, 1e-5)


def test_a_quantised_base_is_shared_by_the_same_code(tmp_path: Path) -> None:
    """NF4 weights under QLoRA."""
    pytest.importorskip("bitsandbytes")
    plan = tiny.with_hardware(tiny.plan(tmp_path), quantization=Quantization.NF4)
    compare(plan, multi_lora.trials(plan), tmp_path, 1e-5)


@pytest.mark.parametrize(
    ("dtype", "kernels"),
    [
        (Dtype.BF16, DecoderKernels.REFERENCE),
        (Dtype.BF16, DecoderKernels.FUSED),
        (Dtype.FP16, DecoderKernels.REFERENCE),
    ],
)
def test_half_precision_runs_agree_within_their_rounding(
    tmp_path: Path, dtype: Dtype, kernels: DecoderKernels
) -> None:
    """Under autocast; in fp16 each trial has a loss scaler of its own."""
    half = {"model_dtype": dtype, "autocast": dtype, "kernels": kernels}
    plan = tiny.with_hardware(tiny.plan(tmp_path), **half)
    learning = multi_lora.trials(plan)
    multi_lora.run_here(multi_lora.shared_job(plan, tmp_path / "shared", learning))
    for number, settings in enumerate(learning):
        multi_lora.alone(plan, settings, tmp_path / f"solo-{number}")
        losses = [
            [line["loss"] for line in multi_lora.lines_in(folder) if "loss" in line]
            for folder in (tmp_path / "shared" / str(number), tmp_path / f"solo-{number}")
        ]
        assert losses[0] == pytest.approx(losses[1], abs=2e-2)


@pytest.mark.parametrize("kernel", [LossKernel.PLAIN, LossKernel.FUSED])
def test_series_of_many_lengths_belong_to_their_trials(tmp_path: Path, kernel: LossKernel) -> None:
    """ChatTS with its encoder: each trial's rows are padded to the longest of all trials'."""
    learning = {"validation_fraction": 0.25, "max_grad_norm": 1.0, "timeseries_lr": 0.02}
    plan = tiny.with_hardware(chatts_plan(tmp_path, **learning), loss_kernel=kernel)
    compare(plan, multi_lora.trials(plan), tmp_path, 1e-5)


def test_an_encoder_that_looks_at_the_longest_series_sees_its_own_trials_alone(
    tmp_path: Path,
) -> None:
    """With positions as shares of the batch's longest series, neighbours must not count."""
    plan = chatts_plan(tmp_path, validation_fraction=0.25, timeseries_lr=0.02)
    ts = {
        **plan.model.config["ts"],  # type: ignore[dict-item]
        "use_position_embedding": False,
        "use_position_idx": True,
    }
    model = replace(plan.model, config={**plan.model.config, "ts": ts}, has_weights=False)
    plan = replace(plan, model=replace(model, path=None, tokenizer=plan.model.path))
    compare(plan, multi_lora.trials(plan), tmp_path, 1e-5)


def test_a_mixture_of_experts_tells_rows_apart_where_it_flattens_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared expert's linears read positions, not rows.

    No family with a shared expert has a formula yet, for want of which its trials run alone; the
    worker is asked as though it had one.
    """
    monkeypatch.setattr(refusal, "READERS", {**refusal.READERS, "qwen2_moe": None})
    shape = {
        "model_type": "qwen2_moe",
        "architectures": ["Qwen2MoeForCausalLM"],
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 64,
        "decoder_sparse_step": 1,
        "head_dim": 8,
    }
    plan = tiny.plan(tmp_path)
    config = {**tiny.CONFIG, **shape}
    model = replace(plan.model, model_type="qwen2_moe", config=config, path=None, has_weights=False)
    plan = replace(plan, model=replace(model, tokenizer=plan.model.path))
    compare(plan, multi_lora.trials(plan, multi_lora.UNLIKE[:2]), tmp_path, 1e-5)


def test_a_place_that_gets_free_is_refilled_without_a_trace(tmp_path: Path) -> None:
    """Five trials on two places; those that come later draw the adapters they would draw alone."""
    plan = tiny.plan(tmp_path)
    learning = multi_lora.trials(
        plan, (*multi_lora.UNLIKE, {"seed": 4, "lora_rank": 3}, {"seed": 5})
    )
    job = multi_lora.shared_job(plan, tmp_path / "shared", learning, max_concurrent_trials=2)
    assert multi_lora.run_here(job).status is Status.OK
    for number in (3, 4):
        solo = multi_lora.alone(plan, learning[number], tmp_path / f"solo-{number}")
        own = multi_lora.record_in(tmp_path / "shared" / str(number))
        assert own.losses.evaluations[-1].loss == pytest.approx(
            solo.losses.evaluations[-1].loss, abs=1e-5
        )
        assert own.losses.last_loss == pytest.approx(solo.losses.last_loss, abs=1e-5)


def test_effective_batches_stay_each_trials_own(tmp_path: Path) -> None:
    """Batches of 2, 4 and 8 rows on one micro-batch of 2: accumulation follows, rows do not."""
    plan = tiny.plan(tmp_path)
    batches = tuple({"effective_batch_size": size, "seed": size} for size in (2, 4, 8))
    compare(plan, multi_lora.trials(plan, batches), tmp_path, 1e-5)


def test_a_trial_that_diverges_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    """NaN in one trial's rows reaches no other trial, and its record says what happened."""
    plan = tiny.plan(tmp_path)
    wild = {"learning_rate": 1e30, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    learning = multi_lora.trials(plan, (multi_lora.UNLIKE[0], wild, multi_lora.UNLIKE[2]))
    assert (
        multi_lora.run_here(multi_lora.shared_job(plan, tmp_path / "shared", learning)).status
        is Status.OK
    )
    lost = multi_lora.record_in(tmp_path / "shared" / "1")
    assert lost.status is Status.DIVERGED
    assert lost.message.startswith("diverged: the loss is ")
    for number in (0, 2):
        solo = multi_lora.alone(plan, learning[number], tmp_path / f"solo-{number}")
        own = multi_lora.record_in(tmp_path / "shared" / str(number))
        assert own.losses.evaluations[-1].loss == pytest.approx(
            solo.losses.evaluations[-1].loss, abs=1e-5
        )


def test_saved_adapters_are_ordinary_ones(tmp_path: Path) -> None:
    """PEFT loads each onto the bare base, and gets the held-out losses that the trial noted."""
    import torch
    from peft import PeftModel

    from tsplanner.training.base_model.build import build_model
    from tsplanner.training.base_model.configuration import model_config
    from tsplanner.training.base_model.tokenizer import load_tokenizer
    from tsplanner.training.data import load_rows

    plan = tiny.plan(tmp_path)
    learning = multi_lora.trials(plan)
    job = multi_lora.shared_job(plan, tmp_path / "shared", learning, kind=JobKind.TRAIN)
    assert multi_lora.run_here(job).status is Status.OK
    for number, settings in enumerate(learning):
        own = replace(plan, learning=settings)
        rows = load_rows(own, load_tokenizer(own.model), model_config(own.model)).validation
        folder = tmp_path / "shared" / str(number) / "adapter"
        assert sorted(path.name for path in folder.iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
            "chat_template.jinja",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
        net = PeftModel.from_pretrained(build_model(own, torch.device("cpu")), str(folder)).eval()
        with torch.no_grad():
            losses = [
                float(
                    net(
                        input_ids=torch.tensor(row.input_ids).long().unsqueeze(0),
                        labels=torch.tensor(row.labels).long().unsqueeze(0),
                    ).loss
                )
                for row in rows
            ]
        noted = multi_lora.read_rows(tmp_path / "shared" / str(number))
        assert losses == pytest.approx(noted, abs=1e-5)
        multi_lora.alone(plan, settings, tmp_path / f"solo-{number}", kind=JobKind.TRAIN)
        assert (
            multi_lora.tensors_in(folder).keys()
            == multi_lora.tensors_in(tmp_path / f"solo-{number}" / "adapter").keys()
        )


REFUSED: dict[str, dict[str, Any]] = {
    "dora changes or reads": {"finetuning_type": FinetuningType.DORA},
    "adalora changes or reads": {"finetuning_type": FinetuningType.ADALORA},
    "full changes or reads": {"finetuning_type": FinetuningType.FULL},
    "lora_dropout 0.1 draws": {"lora_dropout": 0.1},
    "effective batch 3 is no multiple of micro-batch 2": {"effective_batch_size": 3},
    'lora_target "q_porj" is no linear': {"lora_target": ("q_porj",)},
}


def test_trials_that_cannot_share_say_so_and_the_others_train(tmp_path: Path) -> None:
    """Each refused trial leaves a record with one sentence."""
    plan = tiny.plan(tmp_path)
    learning = multi_lora.trials(plan, ({"num_train_epochs": 1}, *REFUSED.values()))
    assert (
        multi_lora.run_here(multi_lora.shared_job(plan, tmp_path / "shared", learning)).status
        is Status.OK
    )
    assert multi_lora.record_in(tmp_path / "shared" / "0").status is Status.OK
    for number, words in enumerate(REFUSED, start=1):
        record = multi_lora.record_in(tmp_path / "shared" / str(number))
        wrong_target = "q_porj" in words  # such a trial would not train alone either
        assert record.status is (Status.CRASHED if wrong_target else Status.CANNOT_SHARE)
        assert words in record.message
