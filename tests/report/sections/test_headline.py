"""The figures at the top of the page."""

from __future__ import annotations

from pathlib import Path

from tests.support.hand_made import changed, summary, trained
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Figures, Section
from tsplanner.report.records.run_record import RunSummary
from tsplanner.report.sections.headline import best_run, headline


def figures(*runs: RunSummary) -> dict[str, str]:
    """Value by label, in English."""
    section = headline(runs)
    assert isinstance(section, Section)
    (block,) = section.blocks
    assert isinstance(block, Figures)
    return {
        translate(item.label, Language.EN): translate(item.value, Language.EN)
        for item in block.items
    }


def test_the_best_run_of_one_task_is_named_with_its_peak_and_time(tmp_path: Path) -> None:
    """A lower loss of another model is no better, and runs from elsewhere are not ours."""
    first = trained(tmp_path, name="first")
    better = changed(first, name="better", eval_loss=0.39, seconds=7200.0, process_bytes=3 * 2**30)
    other = changed(first, name="other", model="another", eval_loss=0.1)
    runs = (first, better, other, summary("elsewhere", eval_loss=0.2))
    assert best_run(runs) is better
    found = figures(*runs)
    assert found["Loss, held out (best)"] == "0.3900"
    assert found["Peak memory of a process"] == "3.00 GiB"
    assert found["Time"] == "2.0 h"


def test_hours_are_those_of_gpus_alone(tmp_path: Path) -> None:
    """Two cards for half an hour are one hour; a CPU has no price per GPU."""
    run = changed(trained(tmp_path), seconds=1800.0, gpus=2, on_cpu=False)
    assert figures(run)["GPU-hours"] == "1 h"
    assert "GPU-hours" not in figures(changed(run, on_cpu=True))


def test_without_a_held_out_loss_there_is_no_headline(tmp_path: Path) -> None:
    """Nothing was evaluated, or nothing was trained here."""
    assert headline([changed(trained(tmp_path), eval_loss=None)]) is None
    assert headline([summary("elsewhere")]) is None


def test_a_run_on_a_cpu_has_memory_and_not_a_gpus_memory_in_chinese(tmp_path: Path) -> None:
    """显存 is a GPU's."""
    run = trained(tmp_path)

    def labels(one: RunSummary) -> list[str]:
        section = headline([one])
        assert isinstance(section, Section)
        (block,) = section.blocks
        assert isinstance(block, Figures)
        return [translate(item.label, Language.ZH) for item in block.items]

    assert "单个进程的内存峰值" in labels(changed(run, on_cpu=True))
    assert "单个进程的显存峰值" in labels(changed(run, on_cpu=False))
