"""Sections with a part per run: curves, memory, plans, advice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory_models.settings import BatchLayout, from_flat
from tests.support.hand_made import changed, trained
from tsplanner.planner.plan import Corrections
from tsplanner.planner.settings import HardwareSettings
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import Bullets, LineChart, Tone
from tsplanner.report.sections.per_run import (
    advice,
    curve_chart,
    detailed,
    epoch_ends,
    plans,
    settings,
)

EN = Language.EN


def test_curves_have_both_losses_epochs_and_the_best(tmp_path: Path) -> None:
    """The start counts as a point, not as the best; epochs end at steps 5 and 10."""
    run = trained(tmp_path)
    chart = curve_chart([run], run)
    assert isinstance(chart, LineChart)
    assert [curve.points for curve in chart.curves] == [
        ((1.0, 2.1), (5.0, 0.6), (10.0, 0.18)),
        ((0.0, 2.0), (5.0, 0.41), (10.0, 0.44)),
    ]
    assert chart.epochs == ((5.0, "1"), (10.0, "2"))
    assert chart.best == (5.0, 0.41)
    assert curve_chart([run], changed(run, training=(), evaluations=((0.0, 2.0),))) is None
    assert epoch_ends(7, 0.0) == ()
    assert epoch_ends(10, 2.5) == ((4.0, "1"), (8.0, "2"))


def test_over_fitting_names_the_epoch_to_stop_at(tmp_path: Path) -> None:
    """Best after epoch 1, higher at the end: a warning with the epoch."""
    section = advice([trained(tmp_path)])
    assert section is not None
    sentence = section.blocks[1]
    assert translate(sentence.text, EN).endswith("and rose by 0.0300 to the end. Stop at epoch 1.")  # type: ignore[union-attr]
    assert sentence.tone is Tone.WARNING  # type: ignore[union-attr]


def test_a_plan_is_explained_by_its_verdict_step_and_assumptions(tmp_path: Path) -> None:
    """What it promised, what it rests on, how the step turned out."""
    run = trained(tmp_path, step_seconds=0.12)
    assert run.plan is not None
    plan = replace(
        run.plan,
        corrections=Corrections(memory_factor=1.1),
        assumptions=("every sequence at full length",),
    )
    section = plans([replace(run, plan=plan)])
    assert section is not None
    said = [translate(block.text, EN) for block in section.blocks if hasattr(block, "text")]
    assert said[1] == (
        "Fits: 16.0 GiB expected, 18.0 GiB at most (95 %), of 20.0 GiB that were free. fp32 · one "
        "GPU · micro-batch 2 x accumulation 2, effective 4 · no checkpointing · plain loss · sdpa."
    )
    assert said[2] == (
        "A step was expected to take 0.1 s ± 50 % (datasheet); the median step took 0.12 s."
    )
    alone = plans([changed(run, step_seconds=None)])
    assert alone is not None
    assert translate(alone.blocks[2].text, EN).endswith("± 50 % (datasheet).")  # type: ignore[union-attr]
    assert said[3].startswith("Earlier probes on the machine corrected the prediction: bytes x 1.1")
    (assumed,) = [block for block in section.blocks if isinstance(block, Bullets)]
    assert [translate(item, EN) for item in assumed.items] == ["every sequence at full length"]


def test_of_very_many_runs_the_best_have_parts_of_their_own(tmp_path: Path) -> None:
    """Fifty runs: the forty with the lowest held-out loss, in the order of the runs."""
    one = trained(tmp_path)
    runs = [changed(one, name=str(number), eval_loss=float(number)) for number in range(50)]
    names = [run.name for run in detailed(runs[::-1])]
    assert names == [str(number) for number in range(39, -1, -1)]
    assert detailed(runs[:40]) == runs[:40]


def test_a_damaged_record_of_endless_epochs_marks_a_thousand() -> None:
    """Two to the 41st marks would take hours."""
    assert len(epoch_ends(10, 2.0**41)) == 1000


def test_a_packed_plan_shows_its_budget() -> None:
    """In place of a micro-batch, in both languages."""
    layout = BatchLayout(gradient_accumulation_steps=16, token_budget=4096)
    hardware = HardwareSettings(batch=layout)
    english, chinese = (translate(settings(hardware), language) for language in Language)
    assert "packed up to 4,096 positions" in english
    assert "micro-batch" not in english
    assert "至多 4,096 个位置" in chinese


def test_unlike_numbers_of_streamed_layers_are_told_in_both_languages() -> None:
    """Both numbers, in the order of the GPUs."""
    unlike = from_flat(HardwareSettings, streamed_layers=(20, 40), world_size=2)
    english, chinese = (translate(settings(unlike), language) for language in Language)
    assert "bf16 · DDP x2 + 20/40 layers streamed · " in english
    assert "bf16 · DDP x2 + 20/40 层流式加载 · " in chinese
