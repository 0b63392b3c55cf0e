"""Which trials of a damaged study can be used."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny
from tests.support.searching import Worker, by_rank, search
from tsplanner.tune.study.sound import is_sound
from tsplanner.tune.study.study import Study

NAMES = ("learning_rate", "num_train_epochs", "lora_rank")
SETTINGS = {"learning_rate": 1e-3, "num_train_epochs": 2, "lora_rank": 8}
TOLD = {"state": "completed", "eval_loss": 1.0, "message": "", "behind": None}


def test_a_told_trial_with_all_its_settings_is_sound() -> None:
    """So is one that waits, and one that was given no parameters yet."""
    assert is_sound(TOLD, SETTINGS, NAMES, finished=True)
    assert is_sound({"seed": 7}, SETTINGS, NAMES, finished=False)
    assert is_sound({}, {}, NAMES, finished=False)
    behind = {"rival": 0, "difference": 0.1, "error": 0.1}
    pruned = TOLD | {"state": "pruned", "eval_loss": 1.2, "behind": behind}
    assert is_sound(pruned, SETTINGS, NAMES, finished=True)


@pytest.mark.parametrize(
    ("attributes", "settings"),
    [
        ({}, {"learning_rate": None}),
        ({}, {"learning_rate": math.nan}),
        ({}, {"lora_rank": 0}),
        ({}, {"num_train_epochs": 2.5}),
        ({}, {"lora_rank": 10**12}),
        ({"state": "finished"}, {}),
        ({"state": 3}, {}),
        ({"eval_loss": "low"}, {}),
        ({"eval_loss": None}, {}),
        ({"message": 1}, {}),
        ({"behind": [1]}, {}),
        ({"behind": {"rival": "x", "difference": 1.0, "error": 1.0}}, {}),
        ({"seed": "x"}, {}),
    ],
)
def test_a_damaged_trial_is_not(attributes: dict[str, Any], settings: dict[str, Any]) -> None:
    """One value of another kind is enough."""
    assert not is_sound(TOLD | attributes, SETTINGS | settings, NAMES, finished=True)


def test_an_end_that_optuna_cannot_be_told_is_no_end() -> None:
    """A trial under way whose outcome lacks Optuna's word for it runs again."""
    assert not is_sound(TOLD, SETTINGS, NAMES, finished=False)
    assert is_sound(TOLD | {"ends as": "COMPLETE"}, SETTINGS, NAMES, finished=False)


def test_a_search_goes_on_without_a_damaged_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line with a trial's rate is cut out of the journal: the other trial stays."""
    plan = tiny.plan(tmp_path)
    built, study, _ = search(tmp_path / "run", plan, Worker(by_rank))
    built.run(2)
    study.workers.leave()
    journal = tmp_path / "run" / "study.journal"
    lines = journal.read_text().splitlines(keepends=True)
    rates = [place for place, line in enumerate(lines) if '"param_name":"learning_rate"' in line]
    del lines[rates[0]]
    journal.write_text("".join(lines))
    with Study(tmp_path / "run", plan, None) as opened:
        assert [one.number for one in opened.results()] == [1]
        assert opened.queue.damaged() == [0]
        assert opened.ask().number == 2
    assert "trial 0 cannot be read and is left out" in capsys.readouterr().err


@pytest.mark.parametrize("note", ["leader", "trials", "trials of the search", "over"])
def test_a_damaged_note_of_the_workers_is_one_sentence(tmp_path: Path, note: str) -> None:
    """A list where a name or a number belongs: the search is refused and left as it is."""
    from tsplanner.errors import TsplannerError

    plan = tiny.plan(tmp_path)
    _, study, _ = search(tmp_path / "run", plan, Worker(by_rank))
    study.access.set_attribute(note, [1])
    study.workers.leave()
    with pytest.raises(TsplannerError, match=f"note of {note} is damaged"):
        Study(tmp_path / "run", plan, None)
    assert json.loads((tmp_path / "run" / "study.journal").read_text().splitlines()[0])
