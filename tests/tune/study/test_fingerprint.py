"""The fingerprint of a search: what all its trials share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import FinetuningType, changed
from tests.support import tiny
from tsplanner.datasets.records import LossOn
from tsplanner.planner.plan import Plan
from tsplanner.tune.study.fingerprint import dataset_digest, digest, fingerprint


def differing(one: Plan, other: Plan) -> list[str]:
    """The parts in which two fingerprints differ."""
    mine, theirs = fingerprint(one), fingerprint(other)
    return [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"seed": 7}, "seed"),
        ({"split_seed": 7}, "split seed"),
        ({"finetuning_type": FinetuningType.DORA}, "method"),
        ({"effective_batch_size": 8}, "batch, cutoff, held-out share and loss"),
        ({"cutoff_len": 64}, "batch, cutoff, held-out share and loss"),
        ({"validation_fraction": 0.2}, "batch, cutoff, held-out share and loss"),
        ({"loss_on": LossOn.LAST}, "batch, cutoff, held-out share and loss"),
        ({"lr_scheduler_type": "linear"}, "schedule and pace"),
        ({"max_steps": 9}, "schedule and pace"),
        ({"neftune_noise_alpha": 5.0}, "schedule and pace"),
    ],
)
def test_what_makes_trials_incomparable_is_named(
    tmp_path: Path, changes: dict[str, Any], part: str
) -> None:
    """Each of these changes one part of the fingerprint, and the refusal names that part."""
    plan = tiny.plan(tmp_path)
    assert differing(plan, tiny.with_learning(plan, **changes)) == [part]


def test_what_is_searched_and_what_it_runs_on_leave_the_fingerprint_alone(tmp_path: Path) -> None:
    """Rank, rate and epochs are searched; hardware settings never change what is learned."""
    plan = tiny.plan(tmp_path)
    searched = tiny.with_learning(plan, lora_rank=16, learning_rate=1e-4, num_train_epochs=9)
    assert differing(plan, searched) == []
    assert differing(plan, tiny.with_hardware(plan, micro_batch_size=1)) == []
    assert differing(plan, replace(plan, free_bytes=1)) == []


def test_a_dataset_is_known_by_its_content(tmp_path: Path) -> None:
    """An edited file is another dataset; a file elsewhere with the same rows is not."""
    plan = tiny.plan(tmp_path)
    copy = tmp_path / "copy.jsonl"
    assert plan.dataset.path is not None
    copy.write_bytes(Path(plan.dataset.path).read_bytes())
    moved = replace(plan, dataset=changed(plan.dataset, path=str(copy)))
    assert differing(plan, moved) == []
    copy.write_text("{}\n")
    assert differing(plan, moved) == ["dataset"]
    assert dataset_digest(replace(plan, dataset=changed(plan.dataset, path=None))) == "no file"


def test_a_model_is_known_by_its_config(tmp_path: Path) -> None:
    """Two folders of one name may hold different models; the order of keys says nothing."""
    plan = tiny.plan(tmp_path)
    deeper = dict(tiny.CONFIG, num_hidden_layers=4)
    assert differing(plan, replace(plan, model=replace(plan.model, config=deeper))) == ["model"]
    turned = dict(reversed(tiny.CONFIG.items()))
    assert differing(plan, replace(plan, model=replace(plan.model, config=turned))) == []


def test_a_digest_is_the_start_of_sha_256() -> None:
    """The digest of nothing is known to everyone."""
    assert digest("") == "e3b0c44298fc"


def test_a_further_file_or_other_columns_are_another_dataset(tmp_path: Path) -> None:
    """The names of columns decide what is learned of the same file."""
    plan = tiny.plan(tmp_path)
    more = tmp_path / "more.jsonl"
    more.write_text("{}")
    for changes in ({"further": (str(more),)}, {"columns": (("prompt", "a"), ("answer", "b"))}):
        other = replace(plan, dataset=replace(plan.dataset, **changes))  # type: ignore[arg-type]
        assert differing(plan, other) == ["dataset"]
