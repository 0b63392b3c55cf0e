"""Runs that were recorded elsewhere."""

from __future__ import annotations

from pathlib import Path

from tsplanner.report.build_page import About, build_page
from tsplanner.report.messages.translate import Language
from tsplanner.report.records.recorded import recorded_runs
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
