"""How predictions are held against published rows: instruments, bounds, verdicts, habits."""

from __future__ import annotations

import pytest

from benchmarks.accuracy.published import HABITS, Judge, Judged, line, quantile
from benchmarks.accuracy.published_rows import Memory, Published, rows_of
from tsplanner.planner.gather.recipes import RECIPES
from tsplanner.planner.plan import Verdict

CASE = {"model": "qwen2.5-7b", "quantization": "nf4", "sequence_length": 1024}


def row(gpu: str, *, ran: bool = True, trainer: str = "unsloth", **memory: int) -> Published:
    """A row of Qwen2.5-7B on NF4; ``memory`` is measured bytes by instrument."""
    return Published(
        source="here",
        trainer=trainer,
        gpu=gpu,
        case=CASE,
        memory=tuple(Memory(instrument=name, bytes=found) for name, found in memory.items()),
        time=None,
        ran=ran,
        stated=True,
    )


def test_each_instrument_is_held_against_its_own_quantity() -> None:
    """Allocated bytes are fewer than reserved ones, and those are fewer than the process's."""
    found = Judge()(row("RTX 4090", allocated=10**10, reserved=10**10, process=10**10))
    errors = [each.error for each in found.memory]
    assert errors == sorted(errors)
    assert errors[0] < errors[1] < errors[2]


def test_habits_are_taken_from_the_rows_trainer_unless_bare() -> None:
    """Unsloth's fused loss and missing upcast take less than the default of ``estimate``."""
    one = row("RTX 4090", allocated=7 * 10**9)
    habits, bare = Judge()(one), Judge(bare=True)(one)
    assert habits.predicted_gib < bare.predicted_gib
    assert habits.memory[0].covered
    assert set(HABITS.values()) <= set(RECIPES)


def test_a_verdict_is_wrong_only_against_what_is_known() -> None:
    """A run that ended cannot not fit, and one that ran out of memory cannot fit."""
    fits = Judge()(row("H200", ran=False))
    assert fits.verdict is Verdict.FITS
    assert fits.wrong_fit
    assert not fits.wrong_refusal
    small = Judge()(row("RTX 3050 Laptop 4GB"))
    assert small.verdict is Verdict.DOES_NOT_FIT
    assert small.wrong_refusal
    spilled = Judge()(row("RTX 3050 Laptop 4GB", reserved=6 * 2**30))
    assert not spilled.within_card
    assert not spilled.wrong_refusal


def test_a_refused_row_says_why_and_has_no_error() -> None:
    """A card that is not planned for."""
    found = Judge()(row("P40"))
    assert "compute capability 6.1" in found.refused
    assert found.memory == ()


def test_a_line_counts_bounds_and_verdicts() -> None:
    """Two rows, of which one is covered: 1 of 2."""
    found = [Judge()(row("H200", reserved=size)) for size in (10**9, 10**12)]
    assert isinstance(found[0], Judged)
    assert "1 of 2" in line("both", found)
    assert quantile([3, 1, 2], 0.95) == 3
    assert quantile([3, 1, 2], 0.5) == 2


def test_a_row_takes_its_settings_over_those_of_its_file() -> None:
    """Units are read as they are written, and as GiB where no instrument is named."""
    document = {
        "source": "here",
        "trainer": "trl",
        "case": {"sequence_length": 512, "lora_rank": 8},
        "rows": [
            {
                "gpu": "T4",
                "model": "qwen2.5-7b",
                "case": {"lora_rank": 16},
                "memory": [
                    {"value": 8, "unit": "GB", "instrument": "reserved"},
                    {"value": 8, "unit": "GB", "instrument": "not said"},
                ],
                "time": {"tokens_per_second": 1024},
                "stated": False,
            }
        ],
    }
    (found,) = rows_of(document)
    assert found.case == {"model": "qwen2.5-7b", "sequence_length": 512, "lora_rank": 16}
    assert [each.bytes for each in found.memory] == [8 * 10**9, 8 * 2**30]
    assert [each.quantity for each in found.memory] == ["peak_reserved_bytes", "process_bytes"]
    assert found.time is not None
    assert found.time.seconds == pytest.approx(0.5)
