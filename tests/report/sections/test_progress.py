"""What the page of a run in progress says of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.hand_made import RECORD, gpu_plan
from tsplanner.folders.owner import Owner
from tsplanner.identity import this_process
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Bullets, Figures, Heading, Paragraph, Section, Text, Tone
from tsplanner.report.records.pace import Pace
from tsplanner.report.records.progress import Progress, State
from tsplanner.report.records.trials import Trial
from tsplanner.report.sections.progress import progress
from tsplanner.training.job import Status
from tsplanner.training.pulse import Phase

GIB = 2**30
RUN = Path("saves/m/lora/a")


def at_work(folder: Path) -> Progress:
    """Ten steps of a hundred, 2 s each, on a card."""
    pace = Pace(100, tokens_per_step=500.0)
    for step in (9, 10):
        pace.see({"step": step, "epoch": 0.5, "loss": 1.25, "seconds": 2.0 * step})
    pace.see({"step": 10, "epoch": 0.5, "eval_loss": 1.5, "seconds": 60, "process_bytes": 8 * GIB})
    return Progress(
        folder=RUN,
        name="a",
        state=State.AT_WORK,
        owner=Owner(verb="train", process=this_process(), since=0.0),
        plan=gpu_plan(folder),
        pace=pace,
        silent_seconds=3.2,
        phase=Phase.STEP,
    )


def said(section: Section, language: Language = Language.EN) -> list[str]:
    """Its sentences, one after the other."""
    texts: list[Text] = []
    for block in section.blocks:
        if isinstance(block, Paragraph | Heading):
            texts.append(block.text)
        elif isinstance(block, Bullets):
            texts += block.items
        elif isinstance(block, Figures):
            texts += [part for item in block.items for part in (item.label, item.value, item.note)]
    return [translate(text, language) for text in texts]


def of(found: Progress) -> Section:
    """The section of one run's own page."""
    return progress([found], RUN, drawn=False)


def test_a_run_at_work_shows_its_figures_against_the_plan(tmp_path: Path) -> None:
    """90 steps of 2 s are left: 3 minutes; 500 tokens each are 250 per second."""
    words = said(of(at_work(tmp_path)))
    assert words[0].startswith(f"At work: tsplanner train, process {os.getpid()} on host ")
    assert words[1] == "Last sign of life 3 s ago: training."
    figures = dict(zip(words[2::3], zip(words[3::3], words[4::3], strict=True), strict=True))
    assert figures == {
        "Steps": ("10 of 100", "10 %, epoch 0.5"),
        "Loss, last step": ("1.2500", "held out 1.5000"),
        "Seconds per step": ("2 s", "planned 0.1 s"),
        "Tokens/s": ("250", "all devices, no padding"),
        "Peak memory so far": ("8.00 GiB", "expected 16.0 GiB, 95 % bound 18.0 GiB"),
        "Time left": ("3 min", "planned 1 s for all steps"),
    }


def test_a_silence_over_a_minute_is_a_warning_and_so_is_a_signal(tmp_path: Path) -> None:
    """With what was done last."""
    found = at_work(tmp_path)
    block = of(replace(found, silent_seconds=61.0)).blocks[1]
    assert isinstance(block, Paragraph)
    assert block.tone is Tone.WARNING
    assert translate(block.text, Language.EN).startswith(
        "No sign of life for 61 s (last known: training)."
    )
    halted = said(of(replace(found, is_halted=True)))[1]
    assert halted.startswith("A signal has stopped a process of this run (training)")


def test_loading_and_a_slow_step_are_no_silence(tmp_path: Path) -> None:
    """Steps of 40 s may be silent for 2 minutes, and a large model loads for an hour."""
    found = replace(at_work(tmp_path), silent_seconds=119.0)
    pace = Pace(100)
    for step in (1, 2):
        pace.see({"step": step, "loss": 1.0, "seconds": 40.0 * step})
    slow = replace(found, pace=pace)
    assert said(of(slow))[1] == "Last sign of life 2 min ago: training."
    assert said(of(replace(slow, silent_seconds=121.0)))[1].startswith("No sign of life")
    loading = replace(found, phase=Phase.LOAD, silent_seconds=3600.0)
    assert said(of(loading))[1] == "Last sign of life 60 min ago: loading model and rows."


def test_a_run_that_was_cut_off_is_told_how_to_go_on(tmp_path: Path) -> None:
    """It has no time left that could be told."""
    words = said(of(replace(at_work(tmp_path), state=State.CUT_OFF)))
    assert words[0] == (
        "a: no record, and no process works here: it was interrupted or killed. "
        f"Go on with  tsplanner train --run-folder {RUN} --resume"
    )
    assert "Time left" not in words
    assert not any("sign of life" in each for each in words)


def test_an_end_is_told_in_the_words_of_the_report(tmp_path: Path) -> None:
    """Of a run without an owner, too."""
    found = at_work(tmp_path)
    over = replace(found, state=State.OVER, record=RECORD)
    assert said(of(over)) == ["a is over: 10 steps in 2 min."]
    hung = replace(RECORD, status=Status.HUNG, message="no sign of life")
    assert said(of(replace(found, state=State.FAILED, record=hung))) == [
        "a did not run to its end: hung. no sign of life",
        f"Go on with  tsplanner train --run-folder {RUN} --resume",
    ]
    unknown = replace(found, state=State.UNKNOWN, owner=None)
    assert said(of(unknown))[0] == "a: no record yet (still running, or killed)"


def test_trials_at_work_are_told_by_what_they_try(tmp_path: Path) -> None:
    """And how far they are."""
    trial = Trial(
        number=3,
        rank=8,
        learning_rate=1e-4,
        epochs=2.0,
        seed=1,
        status=None,
        evaluations=((5.0, 1.25),),
        step=7,
    )
    found = replace(at_work(tmp_path), pace=None, trials=(trial,))
    assert said(of(found))[-1] == (
        "Trial 3: rank 8, learning rate 0.0001, epochs 2; at step 7, held out 1.2500"
    )


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("language", Language)
def test_every_state_has_words_in_both_languages(
    tmp_path: Path, state: State, language: Language
) -> None:
    """A missing one would be a KeyError on somebody's page."""
    record = RECORD if state in (State.OVER, State.FAILED) else None
    for phase in (None, *Phase):
        found = replace(at_work(tmp_path), state=state, record=record, phase=phase)
        assert all(said(of(found), language))


def test_a_folder_of_runs_without_work_says_so() -> None:
    """In place of an empty section."""
    assert said(progress([], Path("saves"), drawn=True)) == ["Nothing under saves is at work."]
