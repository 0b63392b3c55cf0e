"""The first sections: the results of all runs, and what the page is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support import tiny
from tests.support.hand_made import summary, trained
from tests.support.pages import blocks_of, page_of
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Bullets, Table, Tone
from tsplanner.report.records.run_record import LeftOut
from tsplanner.report.runs_table import document, status_words
from tsplanner.report.sections.overview import about, label, left_out_words, results
from tsplanner.training.record import ValuesChecked

EN = Language.EN


def test_a_row_says_what_was_run_and_what_came_of_it(tmp_path: Path) -> None:
    """Eighteen figures, each formatted once: three losses, two peaks in GiB, one time."""
    page = page_of(trained(tmp_path, model="m-7b", parameters=7_000_000_000), summary("b"))
    (table, *_) = blocks_of(page, "results")
    assert isinstance(table, Table)
    assert [translate(cell, EN) for cell in table.rows[0]] == [
        "#1 a",
        "m-7b (7B)",
        "lora",
        "fp32",
        "1x Card X",
        "4",
        "4",
        "0.005",
        "2",
        "10",
        "1.609",
        "0.4730",
        "0.1800",
        "0.4100",
        "1",
        "16.0",
        "17.0",
        "2 min",
    ]
    assert [translate(cell, EN) for cell in table.rows[1]][-3:] == ["-", "-", "20 min"]


def test_a_run_is_named_by_its_row_where_there_are_several() -> None:
    """One run alone needs no number."""
    one, two = summary("a"), summary("b")
    assert label([one], one) == "a"
    assert [label([one, two], run) for run in (one, two)] == ["#1 a", "#2 b"]


def test_a_run_that_ended_badly_is_told_of_below_the_table() -> None:
    """Its status and its message stand in a warning; runs that ended well are not listed."""
    failed = summary("b", status="timeout", message="no time left")
    section = results([summary("a"), failed])
    (warning,) = [block for block in section.blocks if isinstance(block, Bullets)]
    assert warning.tone is Tone.WARNING
    (said,) = [translate(item, EN) for item in warning.items]
    assert said.startswith("#2 b")
    assert "timeout" in said
    assert "no time left" in said


def test_runs_left_out_are_named_with_the_reason() -> None:
    """The section about the page lists them, the detail of the error with them."""
    left = LeftOut(run="m/lora/1", key="left_out_record", detail="no JSON")
    section = about([], [left], Path("saves"), when="now", version="9")
    assert "m/lora/1" in translate(left_out_words(left), EN)
    assert "no JSON" in translate(left_out_words(left), EN)
    (listed,) = [block for block in section.blocks if isinstance(block, Bullets)]
    assert listed.items == (left_out_words(left),)


def test_machines_and_versions_are_listed_once_each(tmp_path: Path) -> None:
    """Two runs on one machine make one row, and so do equal versions."""
    run = replace(trained(tmp_path), versions={"torch": "2.9"})
    section = about([run, run], (), Path("saves"), when="now", version="9")
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    rows = [(translate(head, EN), translate(value, EN)) for head, value in table.rows]
    assert [value for _, value in rows].count("1x Card X · 24 GiB · 16 GiB RAM") == 1
    assert [value for _, value in rows].count("torch 2.9") == 1
    assert [value for _, value in rows].count("tsplanner 9") == 1


def test_a_run_from_random_weights_is_marked(tmp_path: Path) -> None:
    """In red and in words, with the reason; a run of a model's own weights is not."""
    run = trained(tmp_path)
    assert run.plan is not None
    model = replace(run.plan.model, has_weights=False)
    drawn = replace(run, name="drawn", plan=replace(run.plan, model=model))
    (marked,) = [block for block in results([run, drawn]).blocks if isinstance(block, Bullets)]
    assert marked.tone is Tone.REFUSAL
    assert [translate(item, EN) for item in marked.items] == [
        "#2 drawn began from RANDOM WEIGHTS, so what it learned is worth nothing: there are no "
        "weights beside config.json."
    ]
    assert "随机权重" in translate(marked.items[0], Language.ZH)
    assert status_words(drawn) == "ok, RANDOM WEIGHTS"
    assert status_words(run) == "ok"
    assert document(drawn)["random_weights"] is True


def test_right_values_have_a_column_where_any_were_checked() -> None:
    """Beside the held-out loss; a run that was not asked has a dash, and no run no column."""
    one = summary("a")
    checked = replace(one, losses=replace(one.losses, values=ValuesChecked(answers=24, right=17)))
    table = results([checked, summary("b")]).blocks[0]
    assert isinstance(table, Table)
    headings = [translate(column.heading, EN) for column in table.columns]
    place = headings.index("Loss, held out (best)") + 1
    assert headings[place] == "Held-out answers with right values"
    assert [translate(row[place], EN) for row in table.rows] == ["17 of 24", "-"]
    assert translate(table.rows[0][place], Language.ZH) == "24 条中 17 条"
    without = results([summary("a"), summary("b")]).blocks[0]
    assert isinstance(without, Table)
    assert len(without.columns) == len(headings) - 1


def test_a_run_that_ended_early_says_so_in_both_languages(tmp_path: Path) -> None:
    """Ten of forty steps; a run that got to its last step says nothing."""
    run = trained(tmp_path)
    assert run.plan is not None
    plan = tiny.with_learning(run.plan, early_stopping_patience=2)
    whole = replace(run, plan=replace(plan, time=replace(plan.time, total_steps=10)))
    assert [each for each in results([whole]).blocks if isinstance(each, Bullets)] == []
    early = replace(run, plan=replace(plan, time=replace(plan.time, total_steps=40)))
    (bullets,) = [each for each in results([early]).blocks if isinstance(each, Bullets)]
    (told,) = bullets.items
    assert translate(told, EN) == (
        "a ended early, after 10 of 40 steps: its held-out loss had not fallen for 2 evaluations."
    )
    assert "10/40" in translate(told, Language.ZH)
