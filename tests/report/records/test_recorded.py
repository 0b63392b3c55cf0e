"""Runs that were recorded elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsplanner.errors import TsplannerError
from tsplanner.report.build_page import About, build_page
from tsplanner.report.messages.translate import Language
from tsplanner.report.records.recorded import card_name, recorded_runs
from tsplanner.report.records.run_record import Found
from tsplanner.report.render.markdown import markdown_page


def test_recorded_runs_are_shown_and_what_does_not_compare_is_refused() -> None:
    """Of six recorded runs, 8B is 1.69 times 14B on one card; no loss compares with another."""
    runs = recorded_runs()
    text = markdown_page(
        build_page(runs, About(saves=Path("saves"), when="now", version="9")), Language.EN
    )
    assert len(runs) == 6
    model = text.partition("## Compared by model size")[2].partition("\n## ")[0]
    assert "| \\#5 chatts-8b\\_rtx-2080-ti\\_qlora-r8 (chatts-8b) | 0.492 | 1.69x | - |" in model
    assert "Held out" not in model
    quantised = text.partition("## Compared by quantisation")[2].partition("\n## ")[0]
    assert "sharding and offload ZeRO-3" in quantised
    assert "steps 42 and 78; effective batch 32 and 16; rows 418 and 414" in quantised
    assert "|" not in quantised
    hardware = text.partition("## Compared by hardware")[2].partition("\n## ")[0]
    assert "|" not in hardware
    assert Found(runs=runs).left_out == ()


def test_what_a_record_does_not_say_is_none() -> None:
    """Every recorded run has a speed and a mean loss, and no plan, peak or held-out loss."""
    for run in recorded_runs():
        assert run.plan is None
        assert run.memory.process_bytes is None
        assert run.losses.held_out is None
        assert run.outcome.seconds == pytest.approx(
            run.outcome.steps * (run.outcome.step_seconds or 0.0)
        )


def test_a_card_is_named_by_its_machine_file_or_by_the_name_given() -> None:
    """A machine that no file describes keeps its own name."""
    assert card_name("a machine of nobody") == "a machine of nobody"
    cards = {run.hardware.device for run in recorded_runs()}
    assert "RTX 2080 Ti" in " ".join(cards)


def test_folder_without_experiment_files_is_an_error(tmp_path: Path) -> None:
    """The sentence asks for another folder."""
    with pytest.raises(TsplannerError, match="holds no experiment files"):
        recorded_runs(tmp_path)
