"""What a person reads of a recorded run: figures, whether they agree, machines, notes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tsplanner.commands.views.experiment import experiment_lines, experiment_list, print_record
from tsplanner.planner.experiments.recorded import experiment_names, read_experiment
from tsplanner.planner.experiments.replayed import ExperimentRecord, OnMachine
from tsplanner.planner.gather.requests import Subject
from tsplanner.planner.plan import TimeEstimate

GIB = 2**30
RUN = read_experiment("chatts-14b_rtx-2080-ti_qlora-r8")


def on_machine(needs: int, upper: int, free: int) -> OnMachine:
    """A machine with so many GiB."""
    return OnMachine(
        machine="rig",
        needs_bytes=needs * GIB,
        upper_bytes=upper * GIB,
        weight_bytes=GIB,
        free_bytes=free * GIB,
        fits=needs <= free,
    )


@pytest.mark.parametrize(
    ("machine", "start", "style"),
    [
        (on_machine(18, 20, 22), "✔ works on rig: its trainer needs 18.0 GiB per card", "green"),
        (on_machine(18, 23, 22), "✔ may work, tight, on rig: its trainer needs 18.0", "green"),
        (on_machine(23, 25, 22), "✘ cannot work on rig: its trainer needs 23.0 GiB", "red"),
    ],
)
def test_a_machine_works_may_work_or_cannot(machine: OnMachine, start: str, style: str) -> None:
    """By the expected bytes, with a word where only the bound is over what is free."""
    words, drawn = experiment_lines(RUN, [machine])[3]
    assert words.startswith(start)
    assert words.endswith("22.0 are free")
    assert drawn == style


def test_figures_that_agree_are_ticked_and_others_are_crossed() -> None:
    """One row less is another number of samples per second."""
    agreed = [words for words, _ in experiment_lines(RUN, [])[1:3]]
    assert all(words.startswith("✔ ") for words in agreed)
    other = replace(RUN, recorded=replace(RUN.recorded, total_steps=77))
    crossed = experiment_lines(other, [])[1]
    assert crossed[0].startswith("✘ 78 steps: 414 rows, 16 per step, 3 epochs")
    assert crossed[0].endswith(": the record disagrees")
    assert crossed[1] == "red"


@pytest.mark.parametrize(
    ("predicted", "words", "style"),
    [
        (30.0, "✔ 27.35 s per step: 30 s ± 6 s predicted", "green"),
        (
            54.7,
            "✘ 27.35 s per step: 54.7 s ± 11 s predicted, 2.0 times slower than the record",
            "red",
        ),
        (700.0, "✘ 27.35 s per step: 700 s ± 140 s predicted, 25.6 times slower than", "red"),
        (9.117, "✘ 27.35 s per step: 9.12 s ± 1.8 s predicted, 3.0 times faster than", "red"),
    ],
)
def test_the_recorded_step_is_held_against_the_plan(
    predicted: float, words: str, style: str
) -> None:
    """Within the interval it agrees; outside of it the line says by what factor."""
    time = TimeEstimate(
        step_seconds=predicted,
        relative_error=0.2,
        steps_per_epoch=26,
        total_steps=78,
        total_seconds=78 * predicted,
        basis="datasheet",
    )
    line = experiment_lines(RUN, [], time)[3]
    assert line[0].startswith(words)
    assert line[1] == style


def test_the_first_line_is_the_record_and_the_last_are_its_notes() -> None:
    """What was written down, then what contradicts it."""
    lines = experiment_lines(RUN, [])
    assert lines[0][0].startswith(f"{RUN.record}: 78 steps of ")
    assert "0.582 samples/s" in lines[0][0]
    assert [words for words, _ in lines[3:]] == [f"! {note}" for note in RUN.notes]


def test_every_run_has_a_line_of_the_same_columns() -> None:
    """Names are padded to the longest, steps and speeds stand under each other."""
    lines = experiment_list()
    assert [line.split()[0] for line in lines] == list(experiment_names())
    assert len({line.index(" steps") for line in lines}) == 1


def test_a_record_is_printed_under_one_heading(capsys: pytest.CaptureFixture[str]) -> None:
    """The word stands before the first line alone; without a record nothing is printed."""
    print_record(None)
    assert capsys.readouterr().out == ""
    print_record(ExperimentRecord(experiment=RUN, subject=Subject(), machines=[]))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == ""
    assert printed[1].startswith("  Record   ")
    assert all(line.startswith(" " * 11) for line in printed[2:])
