"""What the rounds of faults find wrong with a run: losses, repetitions and half-written files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability.fault_state import State, broken, repeated
from tsplanner.tune.study.queue import RETRY_OF, SEED, STATE
from tsplanner.tune.study.storage import open_storage

TRIALS: list[dict[str, Any]] = [
    {"rank": 8, "attributes": {STATE: "completed"}},
    {"rank": 4, "attributes": {STATE: "completed"}},
    {"rank": 8, "attributes": {STATE: "completed", SEED: 43}},
    {"rank": 4, "attributes": {STATE: "completed", SEED: 43}},
]


def study(run: Path, trials: list[dict[str, Any]]) -> None:
    """A study with these trials in the folder."""
    import optuna

    place = open_storage(run)
    made = optuna.create_study(study_name=place.name, storage=place.storage)
    for one in trials:
        state = optuna.trial.TrialState.COMPLETE
        made.add_trial(
            optuna.trial.create_trial(
                state=state if STATE in one["attributes"] else optuna.trial.TrialState.FAIL,
                value=1.0 if STATE in one["attributes"] else None,
                params={"rank": one["rank"]},
                distributions={"rank": optuna.distributions.CategoricalDistribution((4, 8))},
                user_attrs=one["attributes"],
            )
        )


LOST: dict[str, Any] = {"rank": 4, "attributes": {}}
COPY: dict[str, Any] = {"rank": 4, "attributes": {STATE: "completed", RETRY_OF: 1}}


@pytest.mark.parametrize(
    ("trials", "found"),
    [
        (TRIALS, []),
        ([TRIALS[0], LOST, COPY, *TRIALS[2:]], []),
        ([TRIALS[0], TRIALS[0], *TRIALS[2:]], ["settings were run twice to their end"]),
        ([TRIALS[0], LOST, *TRIALS[1:]], ["lost [1], queued again {}"]),
        (TRIALS[:1] + TRIALS[2:], ["1 trials of the search, 2 others"]),
    ],
    ids=["undisturbed", "killed and queued again", "twice", "never queued again", "one is missing"],
)
def test_a_study_is_held_against_itself(
    tmp_path: Path, trials: list[dict[str, Any]], found: list[str]
) -> None:
    """Of four trials two are of the search and two of the confirmation, and each counts once."""
    study(tmp_path, trials)
    assert repeated(tmp_path) == found


def test_what_had_finished_is_known_with_its_files_and_the_steps_of_its_checkpoint(
    tmp_path: Path,
) -> None:
    """Steps after the newest checkpoint may be run again; a killed worker's half line is none."""
    study(tmp_path, TRIALS[:2])
    (tmp_path / "trials/1").mkdir(parents=True)
    (tmp_path / "trials/1/outcome.json").write_text("{}")
    (tmp_path / "checkpoints/checkpoint-2").mkdir(parents=True)
    (tmp_path / "checkpoints/checkpoint-2/trainer_state.json").write_text("{}")
    lines = [f'{{"step": {step}, "loss": {10 - step}}}\n' for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"step": 4, "lo')
    state = State.of(tmp_path)
    assert sorted(state.trials) == [0, 1]
    assert state.files == {"trials/1/outcome.json": b"{}"}
    assert (state.checkpoint, state.losses) == (2, {1: 9, 2: 8})


def test_half_a_file_and_a_temporary_name_are_found(tmp_path: Path) -> None:
    """Every line of a .jsonl and every .json is read whole."""
    (tmp_path / "record.json").write_text('{"status": "do')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st')
    (tmp_path / ".owner.json.123-1").write_text("{}")
    (tmp_path / "plan.json").write_text("{}")
    assert sorted(broken(tmp_path)) == [
        ".owner.json.123-1 was left",
        "metrics.jsonl is broken",
        "record.json is broken",
    ]
