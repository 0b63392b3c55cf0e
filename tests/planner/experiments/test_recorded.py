"""Recorded runs: what they say, and what arithmetic makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tsplanner.errors import UsageError
from tsplanner.planner.experiments.recorded import experiment_names, read_experiment
from tsplanner.planner.steps import Rounding

ROOT = Path(__file__).resolve().parents[3]
SIX = {
    "chatts-14b_rtx-6000_lora-r16": (65, 1.718),
    "chatts-14b_rtx-6000_lora-r16-20251228": (60, 1.609),
    "chatts-14b_rtx-2080-ti_qlora-r8": (78, 0.582),
    "chatts-14b_rtx-2080-ti_lora-r8-zero3": (42, 0.569),
    "chatts-8b_rtx-6000_lora-r8": (156, 0.934),
    "chatts-8b_rtx-2080-ti_qlora-r8": (78, 0.984),
}


def test_all_six_runs_are_shipped():
    """And no other."""
    assert set(experiment_names()) == set(SIX)


@pytest.mark.parametrize("name", SIX)
def test_steps_and_speed_of_the_record_follow_from_its_rows(name):
    """Kept rows, effective batch and rounding give the recorded figures to the last digit."""
    steps, speed = SIX[name]
    found = read_experiment(name)

    assert found.recorded.total_steps == steps
    assert found.recorded.samples_per_second == speed
    assert found.total_steps(found.recorded.rounding) == steps
    slow, fast = found.samples_per_second()
    assert slow - 0.0005 < speed < fast + 0.0005
    assert fast - slow < 0.0012


@pytest.mark.parametrize("name", SIX)
def test_five_rows_more_would_be_another_speed(name):
    """The figures are no coincidence: they tell the rows that were kept."""
    found = read_experiment(name)
    for rows in (found.dataset.rows_kept - 5, found.dataset.rows_kept + 5):
        other = replace(found, dataset=replace(found.dataset, rows_kept=rows))
        assert not other.speed_agrees


def test_the_other_rounding_would_be_other_steps_where_rows_are_left():
    """70 and 65 steps rounded up where 65 and 60 are recorded; 78 become 75 rounded down."""
    up = [read_experiment(name).total_steps(Rounding.CEIL) for name in list(SIX)[:2]]
    down = [read_experiment(name).total_steps(Rounding.FLOOR) for name in list(SIX)[2:]]

    assert up == [70, 65]
    assert down == [75, 39, 153, 75]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("model:", "modell:"), 'unknown key "modell". Did you mean "model"?'),
        (("lora_rank: 16", "lora_rnak: 16"), 'learning: unknown key "lora_rnak"'),
        (("zero_stage: 0", "zero_stage: [0]"), "zero_stage must be a whole number"),
        (("recorded:", "recorded: 3\nx:"), "unknown key"),
    ],
)
def test_a_file_with_a_wrong_key_is_one_sentence(tmp_path, change, says):
    """One's own records are read as strictly as the shipped ones."""
    shipped = ROOT / "configs" / "experiments" / "chatts-14b_rtx-6000_lora-r16.yaml"
    path = tmp_path / "mine.yaml"
    path.write_text(shipped.read_text().replace(*change))

    with pytest.raises(UsageError) as caught:
        read_experiment(str(path))

    assert says in str(caught.value)
