"""A flag of a learning setting sets the field of its name, or is refused in words."""

from __future__ import annotations

import pytest

from memory_models.settings import (
    FinetuningType,
)
from tests.support.flags import parsed
from tsplanner.commands.inputs.learning_flags import (
    learning_values,
    refuse_idle_flags,
)
from tsplanner.datasets.records import LossOn
from tsplanner.errors import UsageError


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
