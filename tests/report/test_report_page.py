"""The page as data: sections, cells, charts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memory_models.settings import changed as changed_record
from tests.support.hand_made import GIB, RECORD, add_run, changed, gpu_plan, summary, trained
from tsplanner.planner.plan import Corrections
from tsplanner.report.build_page import About, build_page
from tsplanner.report.messages.translate import Language, translate
from tsplanner.report.page import BarChart, Block, Bullets, Charts, LineChart, Page, Table, Tone
from tsplanner.report.records.read_runs import read_runs
from tsplanner.report.records.run_record import LeftOut, RunSummary
from tsplanner.report.render.memory_bars import measured_parts, memory_chart
from tsplanner.report.sections.per_run import advice, curve_chart, epoch_ends, plans

EN = Language.EN


def page_of(*runs: RunSummary, left_out: tuple[LeftOut, ...] = ()) -> Page:
    """The page over runs, written at a time that never changes."""
    about = About(
        saves=Path("saves"), when="2026-11-23 04:00 +0000", version="9", left_out=left_out
    )
    return build_page(runs, about)


def blocks_of(page: Page, name: str) -> tuple[Block, ...]:
    """What a section holds."""
    return next(section.blocks for section in page.sections if section.name == name)


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


def test_a_page_of_several_runs_has_every_section(tmp_path: Path) -> None:
    """In the order of a reader's questions; the machine and the versions come last."""
    page = page_of(trained(tmp_path), summary("b", remarks=("The record says 24 GB.",)))
    assert [section.name for section in page.sections] == [
        "results",
        "advice",
        "hardware",
        "model",
        "quantization",
        "settings",
        "curves",
        "memory",
        "plans",
        "records",
        "about",
    ]


def test_a_page_of_one_run_compares_nothing_and_lists_its_settings(tmp_path: Path) -> None:
    """The row is turned on its side, the learning settings are listed."""
    page = page_of(trained(tmp_path))
    names = [section.name for section in page.sections]
    assert names == ["results", "advice", "curves", "memory", "plans", "learning", "about"]
    (table, *_) = blocks_of(page, "results")
    assert isinstance(table, Table)
    assert table.rows[0][1] == "a"
    assert len(table.rows) == 18


def test_a_page_without_runs_says_so() -> None:
    """No empty table, no chart of nothing."""
    page = page_of()
    assert [section.name for section in page.sections] == ["about", "results"]


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
    assert said[2] == (
        "Fits: 16.0 GiB expected, 18.0 GiB at most (95 %), of 20.0 GiB that were free. fp32 · one "
        "GPU · micro-batch 2 x accumulation 2, effective 4 · no checkpointing · plain loss · sdpa."
    )
    assert said[3] == (
        "A step was expected to take 0.1 s ± 50 % (datasheet); the median step took 0.12 s."
    )
    alone = plans([changed(run, step_seconds=None)])
    assert alone is not None
    assert translate(alone.blocks[3].text, EN).endswith("± 50 % (datasheet).")  # type: ignore[union-attr]
    assert said[4].startswith("Earlier probes on the machine corrected the prediction: bytes x 1.1")
    (assumed,) = [block for block in section.blocks if isinstance(block, Bullets)]
    assert [translate(item, EN) for item in assumed.items] == ["every sequence at full length"]


def test_broken_runs_are_named_and_left_out(tmp_path: Path) -> None:
    """A record cut off, a plan of nobody, a run that was killed; trials are none."""
    saves = tmp_path / "saves"
    good = add_run(saves, "1")
    (add_run(saves, "2") / "record.json").write_text('{"status"')
    (add_run(saves, "3") / "plan.json").write_text("{}")
    killed = add_run(saves, "4")
    (killed / "record.json").rename(killed / "job.json")
    (add_run(saves, "5") / "record.json").write_text('{"status": "ok", "kind": "train"')
    trial = good / "trials" / "0"
    trial.mkdir(parents=True)
    (trial / "record.json").write_text("{}")
    found = read_runs(saves)
    assert [run.name for run in found.runs] == ["tiny/lora/1"]
    assert [(one.run, one.key) for one in found.left_out] == [
        ("tiny/lora/2", "left_out_record"),
        ("tiny/lora/3", "left_out_plan"),
        ("tiny/lora/4", "left_out_unfinished"),
        ("tiny/lora/5", "left_out_record"),
    ]
    page = page_of(*found.runs, left_out=found.left_out)
    listed = [block for block in blocks_of(page, "about") if isinstance(block, Bullets)]
    assert translate(listed[0].items[2], EN) == (
        "tiny/lora/4: no record yet (still running, or killed)"
    )


def test_half_written_metrics_and_endless_losses_do_not_hinder(tmp_path: Path) -> None:
    """A last line cut off, a loss that is no number: what is left is drawn."""
    saves = tmp_path / "saves"
    folder = add_run(saves, "1", changed_record(RECORD, evaluations=(), last_loss=None))
    (folder / "metrics.jsonl").write_text(
        '{"step": 1, "loss": NaN}\n{"step": 2, "loss": 3.0}\n{"st'
    )
    (run,) = read_runs(saves).runs
    assert run.curves.training == ((2.0, 3.0),)
    charts = [block for block in blocks_of(page_of(run), "curves") if isinstance(block, Charts)]
    assert len(charts[0].items) == 1
