"""Steps, evaluations and noise under other trainers' keys."""

from __future__ import annotations

from memory_models.settings import FinetuningType, changed
from tests.support import sorts
from tsplanner.exporters import cadence
from tsplanner.planner.plan import Plan


def plan(**learning: object) -> Plan:
    """A plan for one GPU with these learning settings."""
    return changed(sorts.on_gpus(1), **learning)


def test_defaults_are_the_ends_of_epochs() -> None:
    """As our own worker evaluates and saves."""
    assert cadence.keys(plan()) == {"save_strategy": "epoch", "save_total_limit": 2}
    assert cadence.evaluation_keys(plan()) == {"eval_strategy": "epoch"}
    assert cadence.notes(plan(), "TRL", ends_early=False) == []


def test_what_was_given_is_written() -> None:
    """Under the names of transformers' TrainingArguments."""
    found = plan(max_steps=9, save_steps=4, eval_steps=3, neftune_noise_alpha=5.0)
    assert cadence.keys(found) == {
        "max_steps": 9,
        "neftune_noise_alpha": 5.0,
        "save_strategy": "steps",
        "save_steps": 4,
        "save_total_limit": 2,
    }
    assert cadence.evaluation_keys(found) == {"eval_strategy": "steps", "eval_steps": 3}
    assert cadence.evaluation_keys(plan(validation_fraction=0.0, eval_steps=3)) == {}


def test_what_a_trainer_does_otherwise_is_said() -> None:
    """TRL cannot end a run early from its command line, and noise counts padding everywhere."""
    found = plan(early_stopping_patience=2, neftune_noise_alpha=5.0)
    noise = "NEFTune's noise is smaller under TRL"
    early, padded = cadence.notes(found, "TRL", ends_early=False)
    assert early.startswith("TRL has no flag for early stopping")
    assert padded.startswith(noise)
    assert [each.startswith(noise) for each in cadence.notes(found, "TRL", ends_early=True)] == [
        True
    ]


def test_other_trainers_let_the_magnitudes_of_dora_decay() -> None:
    """Which is said where anything decays at all."""
    decays = {"finetuning_type": FinetuningType.DORA, "weight_decay": 0.01}
    (said,) = cadence.notes(plan(**decays), "axolotl", ends_early=True)
    assert said.startswith("axolotl lets DoRA's magnitudes decay as well")
    for without in ({"weight_decay": 0.0}, {"finetuning_type": FinetuningType.LORA}):
        assert cadence.notes(plan(**decays | without), "axolotl", ends_early=True) == []
