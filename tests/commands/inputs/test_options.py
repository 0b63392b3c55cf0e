"""Flags that several verbs share: a flag sets the field of its name, and nothing else is set."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    paths,
)
from tsplanner.commands.inputs.options import (
    PINNED,
    add_force_argument,
    add_learning,
    add_pins,
    add_plan_argument,
    add_subject,
    data_source,
    learning_values,
    pins,
    refuse_idle_flags,
)
from tsplanner.datasets.records import DataSource, LossOn
from tsplanner.errors import UsageError
from tsplanner.planner.request import Pins
from tsplanner.planner.settings import HardwareSettings, LearningSettings


def parsed(*words: str) -> argparse.Namespace:
    """All shared flags, read from these words."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for add in (add_subject, add_learning, add_pins, add_plan_argument, add_force_argument):
        add(parser)
    return parser.parse_args(list(words))


def test_nothing_given_is_nothing_set() -> None:
    """The planner chooses hardware settings, and defaults stand for learning settings."""
    assert learning_values(parsed()) == {}
    assert pins(parsed()) == Pins()
    assert parsed().saves == Path("saves")
    assert parsed().plan is None
    assert not parsed().force


def test_repeated_gpus_add_up() -> None:
    """Two flags describe one machine; nothing that was typed is dropped."""
    words = ("--gpus", "2x RTX 3090", "--gpus", "1x RTX 4090")
    assert parsed(*words).gpus == "2x RTX 3090 + 1x RTX 4090"
    assert parsed().gpus is None


def test_the_host_and_rounding_are_flags_of_their_own() -> None:
    """Both are off unless given."""
    assert parsed("--host-memory", "1TiB").host_memory == 1024**4
    assert parsed().host_memory is None
    assert parsed("--allow-rounding").allow_rounding
    assert not parsed().allow_rounding
    assert parsed("--allow-streaming").allow_streaming


def test_every_learning_flag_sets_its_field() -> None:
    """Two flags are shorter than their fields: --epochs and --effective-batch."""
    words = (
        "--finetuning-type dora --lora-rank 16 --lora-alpha 8 --lora-dropout 0.1 "
        "--lora-target q_proj,v_proj --adalora-init-rank 12 --freeze-trainable-layers 3 "
        "--learning-rate 1e-4 --timeseries-lr 1e-5 --epochs 3 --effective-batch 8 "
        "--cutoff-len 512 --validation-fraction 0.2 --seed 7 --loss-on last --max-steps 90 "
        "--lr-scheduler-type linear --warmup-ratio 0.1 --weight-decay 0.01 --max-grad-norm 0 "
        "--neftune-noise-alpha 5 --eval-steps 10 --save-steps 20 --early-stopping-patience 2"
    )
    assert learning_values(parsed(*words.split())) == {
        "finetuning_type": FinetuningType.DORA,
        "lora_rank": 16,
        "lora_alpha": 8.0,
        "lora_dropout": 0.1,
        "lora_target": ("q_proj", "v_proj"),
        "adalora_init_rank": 12,
        "freeze_trainable_layers": 3,
        "learning_rate": 1e-4,
        "timeseries_lr": 1e-5,
        "num_train_epochs": 3,
        "effective_batch_size": 8,
        "cutoff_len": 512,
        "validation_fraction": 0.2,
        "loss_on": LossOn.LAST,
        "seed": 7,
        "max_steps": 90,
        "lr_scheduler_type": "linear",
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        "max_grad_norm": 0.0,
        "neftune_noise_alpha": 5.0,
        "eval_steps": 10,
        "save_steps": 20,
        "early_stopping_patience": 2,
    }


def test_every_hardware_flag_pins_its_field() -> None:
    """Words become the enums that the settings have."""
    words = (
        "--world-size 2 --micro-batch-size 4 --gradient-checkpointing on --checkpointed-layers 5 "
        "--attention eager --loss-kernel fused --optimizer adamw_torch --kernels fused "
        "--model-dtype fp32 --quantization nf4 --zero-stage 3 --offload-optimizer on "
        "--offload-param off --cpu-threads 3 --upcast-unquantized on"
    )
    found = pins(parsed(*words.split()))
    assert found == Pins(
        world_size=2,
        micro_batch_size=4,
        gradient_checkpointing=True,
        checkpointed_layers=5,
        attention=Attention.EAGER,
        loss_kernel=LossKernel.FUSED,
        optimizer=Optimizer.ADAMW_TORCH,
        decoder_kernels=DecoderKernels.FUSED,
        model_dtype=Dtype.FP32,
        quantization=Quantization.NF4,
        zero_stage=3,
        offload_optimizer=True,
        offload_param=False,
        cpu_threads=3,
        upcast_unquantized=True,
    )
    # Rows that are packed go into passes one by one.
    packed = pins(parsed("--token-budget", "4096"))
    assert packed == Pins(token_budget=4096)
    streamed = pins(parsed("--streamed-layers", "9", "--host-checkpoints", "off"))
    more = parsed("--passes-together", "4", "--stream-from-files", "on")
    streamed = streamed.with_(**pins(more).values)
    assert streamed == Pins(
        streamed_layers=9, host_checkpoints=False, passes_together=4, stream_from_files=True
    )
    # A base that FSDP2 shares out is not shared by ZeRO.
    shared = pins(parsed("--fsdp", "on"))
    assert shared == Pins(fsdp=True)
    every = {*found.values, *packed.values, *streamed.values, *shared.values}
    assert every == set(PINNED)


def test_none_and_all_pin_a_field_to_nothing() -> None:
    """A plain base is a wish of its own, and so is checkpointing all layers or none."""
    found = pins(parsed("--quantization", "none", "--checkpointed-layers", "all"))
    assert found == Pins(quantization=None, checkpointed_layers=None)
    assert "quantization" in found


def test_what_is_switched_off_is_pinned_as_well() -> None:
    """Off and 0 are values, not absences."""
    found = pins(parsed("--gradient-checkpointing", "off", "--zero-stage", "0"))
    assert found == Pins(gradient_checkpointing=False, zero_stage=0)


def test_tables_name_fields_that_exist() -> None:
    """A field that was renamed without its flag would fail here, not at a user's."""
    assert set(PINNED) <= set(paths(HardwareSettings))
    given = parsed("--lora-rank", "4", "--epochs", "2", "--effective-batch", "8")
    assert set(learning_values(given)) <= set(paths(LearningSettings))


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("--finetuning-type", "magic"),
        ("--quantization", "int3"),
        ("--zero-stage", "4"),
        ("--on-bad-rows", "ignore"),
        ("--micro-batch-size", "0"),
        ("--cutoff-len", "8"),
    ],
)
def test_a_word_that_is_no_value_is_refused_by_its_flag(flag: str, word: str) -> None:
    """Argparse names the flag."""
    with pytest.raises(argparse.ArgumentError, match=flag):
        parsed(flag, word)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--freeze-trainable-layers 4",
            "is for --finetuning-type freeze, not",
        ),
        ("--adalora-init-rank 4 --finetuning-type dora", "is for --finetuning-type adalora, not"),
    ],
)
def test_a_flag_that_the_method_does_not_have_is_refused(words: str, said: str) -> None:
    """It would be left out in silence."""
    with pytest.raises(UsageError, match=said):
        refuse_idle_flags(parsed(*words.split()))
    refuse_idle_flags(parsed("--finetuning-type", "freeze", "--freeze-trainable-layers", "4"))


def test_names_of_other_verbs_and_programs_are_known() -> None:
    """--sequence-length and --device of estimate; null for none; 4-bit and QLoRA by their names."""
    given = parsed("--sequence-length", "64", "--device", "T4", "--quantization", "null")
    assert (given.cutoff_len, given.gpus, given.quantization) == (64, "T4", "none")
    assert parsed("--quantization", "4bit").quantization == "nf4"
    assert parsed("--quantization", "8-bit").quantization == "int8"
    with pytest.raises(argparse.ArgumentError, match='Did you mean "nf4-dq"'):
        parsed("--quantization", "nf4_dq")


@pytest.mark.parametrize(
    ("words", "base"),
    [
        (("--finetuning-type", "qlora"), "nf4"),
        (("--finetuning-type", "QLoRA", "--quantization", "nf4-dq"), "nf4-dq"),
        (("--quantization", "nf4-dq", "--finetuning-type", "qlora"), "nf4-dq"),
    ],
)
def test_qlora_is_lora_on_a_base_of_four_bits(words: tuple[str, ...], base: str) -> None:
    """A base that is named as well is the one that is meant, before or after."""
    given = parsed(*words)
    assert (given.finetuning_type, given.quantization) == (FinetuningType.LORA, base)


def test_a_dataset_is_files_and_names_of_their_fields() -> None:
    """Several after one flag or several flags; names without a dataset say nothing."""
    parser = argparse.ArgumentParser()
    add_subject(parser)
    words = ["--dataset", "a", "b", "--dataset", "c", "--columns", "prompt=q,answer=r"]
    assert data_source(parser.parse_args(words)) == DataSource(
        paths=("a", "b", "c"), columns=(("prompt", "q"), ("answer", "r"))
    )
    assert data_source(parser.parse_args(["--dataset", "a"])) == DataSource(paths=("a",))
    assert data_source(parser.parse_args([])) is None
    with pytest.raises(UsageError, match="--columns names the fields of a dataset: add --dataset"):
        data_source(parser.parse_args(["--columns", "text=a"]))


def test_part_of_an_epoch_is_a_number_of_epochs() -> None:
    """A whole number stays one, which a search counts by."""
    for word, value in (("0.5", 0.5), ("2.0", 2), ("3", 3)):
        found = learning_values(parsed("--epochs", word))["num_train_epochs"]
        assert found == value
        assert isinstance(found, int) == (value != 0.5)


def test_micro_batches_times_their_number_are_the_effective_batch() -> None:
    """As other trainers say it: 2 samples x 4 micro-batches x 3 processes."""
    words = "--micro-batch-size 2 --gradient-accumulation-steps 4"
    assert learning_values(parsed(*words.split()))["effective_batch_size"] == 8
    more = f"{words} --world-size 3 --effective-batch 24"
    assert learning_values(parsed(*more.split()))["effective_batch_size"] == 24


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--gradient-accumulation-steps 4", "give --micro-batch-size beside it"),
        (
            "--gradient-accumulation-steps 4 --micro-batch-size 2 --effective-batch 16",
            "4 x --micro-batch-size 2 x 1 contradict each other",
        ),
    ],
)
def test_micro_batches_that_make_no_batch_are_refused(words: str, says: str) -> None:
    """In one sentence that says what to give."""
    with pytest.raises(UsageError, match=says):
        learning_values(parsed(*words.split()))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--warmup-steps 5 --warmup-ratio 0.1", "say the same"),
        ("--warmup-steps 5 --lr-scheduler-type constant", "take .*constant_with_warmup"),
        ("--warmup-ratio 0.1 --lr-scheduler-type constant", "has no warm-up"),
    ],
)
def test_a_warm_up_that_counts_for_nothing_is_refused(words: str, says: str) -> None:
    """Given twice, or to a schedule that has none; none at all is fine."""
    with pytest.raises(UsageError, match=says):
        refuse_idle_flags(parsed(*words.split()))
    refuse_idle_flags(parsed("--warmup-steps", "0", "--lr-scheduler-type", "constant"))
