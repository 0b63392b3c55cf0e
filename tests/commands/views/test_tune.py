"""How a search looks: a live table for a person, a line per trial in a pipe, nothing for JSON."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memory_models.settings import changed
from tests.support import tiny
from tests.support.costs import COSTS
from tests.support.terminal import Terminal
from tsplanner.commands.views.tune import (
    HEADING,
    LiveView,
    PlainView,
    SearchView,
    at_once_words,
    extent_words,
    given_line,
    helping_line,
    opening_lines,
    result_line,
    running_line,
    unconfirmed_line,
    view_for,
)
from tsplanner.planner.files import write_plan
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune import flow
from tsplanner.tune.budget.controller import Budget, BudgetController
from tsplanner.tune.options import SearchLocation, SpaceOptions, TuneOptions
from tsplanner.tune.runner.multi_lora import MultiLora, SharingChoice
from tsplanner.tune.runner.slots import Slots
from tsplanner.tune.study.trial_result import Result, TrialState

LEARNING: LearningSettings = changed(
    LearningSettings(), lora_rank=16, learning_rate=5e-3, num_train_epochs=2
)


def result(number: int, loss: float | None = None, **more: Any) -> Result:
    """A trial that has ended."""
    fields = {"learning": LEARNING, "state": TrialState.COMPLETED, "message": ""}
    return Result(number=number, eval_loss=loss, **(fields | more))


def prepared(folder: Path, **more: Any) -> flow.PreparedSearch:
    """A search of the tiny plan that is ready to run."""
    path = write_plan(tiny.plan(folder), folder / "plan.json")
    location = SearchLocation(plan_path=path, saves=folder, run_folder=folder / "run")
    opened = flow.open_search(TuneOptions(location=location, **more), tiny.machine(), 0.0)
    return flow.prepare(opened)


def test_a_trial_is_a_line_under_the_heading() -> None:
    """Rank, rate, epochs, loss, the difference from the baseline, and how it ended."""
    lines = [
        HEADING,
        result_line(result(0, 1.5), None),
        result_line(result(3, 1.25), 1.5),
        result_line(result(4, 1.5, seed=43), 1.5),
        result_line(result(5, state=TrialState.REJECTED, message="0.50 GiB over"), 1.5),
        result_line(result(6, state=TrialState.FAILED), 1.5),
    ]
    assert lines == [
        " trial  rank        lr  epochs  eval loss  vs baseline  state",
        "     0    16   5.0e-03       2     1.5000               done      baseline",
        "     3    16   5.0e-03       2     1.2500      -0.2500  done",
        "     4    16   5.0e-03       2     1.5000               done      seed 43",
        "     5    16   5.0e-03       2                          0.50 GiB over",
        "     6    16   5.0e-03       2                          failed",
    ]


def test_a_trial_under_way_has_a_bar_and_its_newest_evaluation() -> None:
    """A quarter of two epochs: five of twenty cells."""
    line = running_line(2, LEARNING, 0.25, 1.75)
    assert line == (
        "     2    16   5.0e-03       2     1.7500               "
        + "━" * 5
        + "╺" * 15
        + " epoch 0.5/2"
    )
    assert "1.7500" not in running_line(2, LEARNING, 0.25, None)


def test_a_view_keeps_what_it_hears() -> None:
    """The newest evaluation stays until there is a newer one; trial 0 is the baseline."""
    view = SearchView()
    view.started(0, LEARNING)
    view.progressed(0, 0.5, 1.75)
    view.progressed(0, 0.6, None)
    assert view.running == {0: (LEARNING, 0.6, 1.75)}
    view.ended(result(0, 1.5))
    assert (view.running, view.baseline_loss) == ({}, 1.5)
    view.started(1, LEARNING)
    view.released(1, "killed")
    assert view.running == {}
    assert view.lost == [
        "     1    16   5.0e-03       2                          tried again: killed"
    ]


def test_a_pipe_gets_a_line_per_trial(capsys: pytest.CaptureFixture[str]) -> None:
    """Earlier trials of a resumed search come first; each line is out when the trial is."""
    with PlainView() as view:
        view.recall([result(0, 1.5)])
        view.started(1, LEARNING)
        view.released(1, "killed")
        view.say("A trial takes 2 min.")
    heading, baseline, lost, said = capsys.readouterr().out.splitlines()
    assert heading == HEADING
    assert baseline.endswith("done      baseline")
    assert lost.endswith("tried again: killed")
    assert said == "A trial takes 2 min."


def test_json_gets_nothing_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the one document may stand on stdout."""
    with view_for(4, as_json=True) as view:
        view.recall([result(0, 1.5)])
        view.say("A trial takes 2 min.")
    assert capsys.readouterr().out == ""
    assert type(view) is SearchView
    assert type(view_for(4, as_json=False)) is PlainView


def test_a_terminal_has_the_whole_table_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of four have ended, a sentence stands above, and the last table stays."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    view = view_for(4, as_json=False)
    assert isinstance(view, LiveView)
    # On a busy machine the first line of the table would have taken a tenth of a second.
    clock = SimpleNamespace(monotonic=lambda: view.began)
    monkeypatch.setattr("tsplanner.commands.views.tune.time", clock)
    with view:
        view.recall([result(1, 1.25), result(0, 1.5)])
        view.started(2, LEARNING)
        view.say("A trial takes 2 min.")
    assert "A trial takes 2 min." in terminal.plain
    table = terminal.plain.rpartition(HEADING)[2]
    assert table.index("baseline") < table.index("1.2500")
    assert "epoch 0.0/2" in table
    assert "2 of 4 trials, 0 s, about 0 s left" in table


def test_within_a_budget_the_number_of_trials_is_not_known() -> None:
    """A rejected trial is none that ran."""
    view = LiveView(None)
    view.recall([result(0, 1.5), result(1, state=TrialState.REJECTED)])
    assert view._foot() == "1 trial, 0 s"


def test_a_search_opens_with_its_space_and_its_extent(tmp_path: Path) -> None:
    """The baseline with its rows, the ranges, the number of trials, and the memory of each."""
    ready = prepared(tmp_path, trials=4, jobs=1)
    first, second = opening_lines(ready)
    low, high = ready.study.encoding.space.learning_rate
    assert first == (
        "Baseline: rank 16, lr 5.0e-03, 3 epochs (20 rows).   Space: "
        f"rank 4, 8, 16; lr {low:.1e} to {high:.1e}; epochs 1, 2, 3, read along the trials."
    )
    assert second == (
        "4 trials; 2 of them at most for the confirmation on fresh seeds; one at a time, up to "
        "0.88 GiB each."
    )


def test_trials_that_share_a_base_share_its_memory(tmp_path: Path) -> None:
    """Three per base in two slots are six at once, without a figure for each."""
    ready = prepared(tmp_path, trials=2, jobs=2)
    shared = MultiLora(max_concurrent_trials=3, plan=ready.opened.plan, gain=2.0)
    ready = replace(ready, sharing=SharingChoice(multi_lora=shared, sentence="They share it."))
    assert extent_words(ready) == "2 trials; 6 at once"
    assert opening_lines(ready)[-1] == "They share it."


def test_a_search_within_a_budget_is_told_by_its_schedule(tmp_path: Path) -> None:
    """926 of 930 s: four trials of the search and two pairs."""
    controller = BudgetController(
        COSTS,
        Budget(seconds=930.0, max_trials=32, began=0.0),
        trials_folder=tmp_path,
        always_renews=True,
    )
    ready = replace(prepared(tmp_path, trials=2), controller=controller)
    assert extent_words(ready) == (
        "15 min 30 s: 8 trials, 4 of them for the confirmation; full run 1 min 40 s; about "
        "15 min 26 s in all"
    )


def test_a_helper_says_whom_it_helps() -> None:
    """And how many trials it runs at once, or how they share a base."""
    joined: Any = SimpleNamespace(
        leader="host:7",
        study=SimpleNamespace(folder=Path("saves/m/lora/1")),
        slots=Slots(jobs=2),
        sharing=SharingChoice(),
    )
    assert helping_line(joined) == ("Helping host:7 with the search in saves/m/lora/1; 2 at once.")
    joined.sharing = SharingChoice(sentence="They share a base.")
    assert helping_line(joined).endswith("; They share a base.")
    assert at_once_words(1) == "one at a time"


def test_the_opening_says_what_was_given_to_plan_and_is_kept(tmp_path: Path) -> None:
    """A range that tune was given opens the rank again; only the epochs are told then."""
    plan = tiny.plan(tmp_path)
    learning = replace(plan.learning, given=("lora_rank", "num_train_epochs"))
    write_plan(replace(plan, learning=learning), tmp_path / "given.json")
    for name, space, words in (
        ("a", SpaceOptions(), "Kept as given to plan: rank 4, epochs 2."),
        ("b", SpaceOptions(lora_rank="4,8"), "Kept as given to plan: epochs 2."),
        ("c", SpaceOptions(lora_rank="4,8", epochs="1,2"), ""),
    ):
        location = SearchLocation(
            plan_path=tmp_path / "given.json", saves=tmp_path, run_folder=tmp_path / name
        )
        options = TuneOptions(location=location, space=space, trials=4)
        ready = flow.prepare(flow.open_search(options, tiny.machine(), 0.0))
        assert given_line(ready) == words
        assert (words in opening_lines(ready)) is bool(words)


@pytest.mark.parametrize(("trials", "said"), [(3, True), (4, False)])
def test_too_few_trials_to_confirm_are_told_at_once(
    tmp_path: Path, trials: int, said: bool
) -> None:
    """A quarter of the trials is kept for pairs on fresh seeds: of three there is none."""
    words = unconfirmed_line(prepared(tmp_path, trials=trials, jobs=1))
    assert bool(words) is said
    assert not said or "the baseline stays (4 or more confirm)" in words


def test_trials_of_a_number_of_steps_are_told_by_steps(tmp_path: Path) -> None:
    """Their epochs decide nothing, so that no line names any."""
    learning = tiny.with_learning(tiny.plan(tmp_path), max_steps=30).learning
    line = running_line(3, learning, 0.5, None)
    assert line.endswith("step 15/30")
    assert line.split()[:4] == ["3", "4", "5.0e-03", "-"]
