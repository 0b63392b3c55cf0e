"""The memory of a run as bars."""

from __future__ import annotations

from pathlib import Path

from tests.support.hand_made import GIB, changed, gpu_plan, trained
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import BarChart
from tsplanner.report.render.memory_bars import measured_parts, memory_chart

EN = Language.EN


def test_memory_bars_add_up_to_what_was_predicted_and_measured(tmp_path: Path) -> None:
    """16 GiB in parts, the smallest as one; 14 allocated, 1 more reserved, 2 outside."""
    run = trained(tmp_path)
    chart = memory_chart("a", run, gpu_plan(tmp_path))
    assert isinstance(chart, BarChart)
    predicted, measured = chart.bars
    assert [(translate(part.label, EN), part.bytes / GIB) for part in predicted.parts] == [
        ("base weights", 9.0),
        ("kept activations", 3.0),
        ("block in work", 1.0),
        ("head and loss", 1.0),
        ("context and libraries", 1.0),
        ("fragmentation", 0.8125),
        ("other", 0.1875),
    ]
    assert predicted.upper == 18 * GIB
    assert chart.limit == 20 * GIB
    assert [(translate(part.label, EN), part.bytes / GIB) for part in measured.parts] == [
        ("allocated", 14.0),
        ("reserved besides", 1.0),
        ("process besides", 2.0),
    ]


def test_a_process_on_the_cpu_is_one_part(tmp_path: Path) -> None:
    """There is no allocator to split it by; a run without measurements has no bar."""
    run = trained(tmp_path, allocated_bytes=None, reserved_bytes=None)
    assert [translate(part.label, EN) for part in measured_parts(run)] == ["process"]
    assert measured_parts(changed(run, process_bytes=None)) == ()


def test_parts_of_every_estimate_have_words_and_colors() -> None:
    """What memory_models names is known here, so that both languages can say it."""
    from memory_models import estimate
    from memory_models.bounds import cpu
    from tsplanner.report.render.memory_bars import PARTS

    source = Path(estimate.__file__).read_text() + Path(cpu.__file__).read_text()
    for name in PARTS:
        assert f'"{name}"' in source, name
