"""Plans and estimates as a notebook shows them: HTML without a script, in the reader's colors."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from memory_models.frozen import frozen
from memory_models.result import Interval, MemoryEstimate
from memory_models.units import format_gib
from tsplanner.planner.explain.sentences import difference_words, explanation_sentence
from tsplanner.planner.plan import Plan

SMALLEST_SHARE = 0.01
"""Parts under this share of the peak are drawn as one part."""
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8a8a8a")
"""Okabe and Ito's, which all readers can tell apart; the rows of the table say the names."""


@frozen
class Part:
    """A part of the peak as it is drawn."""

    name: str
    gib: str
    percent: float
    """Share of the bar's whole width."""
    color: str


def plan_html(plan: Plan, settings: str, command: str | None) -> str:
    """Verdict, memory bar, time and alternatives of a plan."""
    alternatives = [
        {
            "settings": difference_words(row.hardware, plan.hardware),
            "peak": _interval(row.process_bytes),
            "speed": f"{row.relative_speed:.2f} x",
            "verdict": row.verdict,
            "why": explanation_sentence(row.explanation),
        }
        for row in plan.alternatives
    ]
    return _rendered(
        title=f"{plan.model.name} on {plan.machine.name}",
        verdict=plan.verdict,
        settings=settings,
        time=f"{plan.time.step_seconds:.2g} s/step ± {plan.time.relative_error:.0%}",
        alternatives=alternatives,
        command=command,
        **_memory(plan.memory, plan.free_bytes),
    )


def estimate_html(model: str, memory: MemoryEstimate, command: str) -> str:
    """The memory bar of an estimate."""
    return _rendered(
        title=f"{model} · {memory.parameters_total:,} parameters",
        verdict=None,
        settings=f"{memory.parameters_trainable:,} of them are trained",
        time=None,
        alternatives=[],
        command=command,
        **_memory(memory, None),
    )


def lines_html(lines: Sequence[str]) -> str:
    """Lines of a table as they would stand on a terminal."""
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def parts(memory: MemoryEstimate, whole: int) -> list[Part]:
    """The parts of the expected peak, the largest first, over a bar of ``whole`` bytes."""
    least = SMALLEST_SHARE * memory.process_bytes.expected
    large = sorted(
        (part for part in memory.components if part.bytes >= least), key=lambda part: -part.bytes
    )
    sizes = [(part.name, part.bytes) for part in large]
    other = memory.process_bytes.expected - sum(size for _, size in sizes)
    if other > 0:
        sizes.append(("other", other))
    return [
        Part(
            name=name,
            gib=format_gib(size),
            percent=100 * size / whole,
            color=COLORS[place % len(COLORS)],
        )
        for place, (name, size) in enumerate(sizes)
    ]


def _memory(memory: MemoryEstimate, free: int | None) -> dict[str, Any]:
    """What the template shows of memory; ``free``: bytes that are free, if that is known."""
    process = memory.process_bytes
    whole = max(process.upper, free or 0, 1)
    return {
        "peak": _interval(process),
        "parts": parts(memory, whole),
        "upper_percent": 100 * process.upper / whole,
        "free": None if free is None else format_gib(free),
        "free_percent": None if free is None else 100 * free / whole,
        "instant": memory.peak_instant,
    }


def _interval(interval: Interval) -> str:
    return f"{format_gib(interval.expected)} (95 %: {format_gib(interval.upper)})"


def _rendered(**values: Any) -> str:
    from tsplanner.report.render.templates import template  # jinja2, which a bare plan needs not

    return template("notebook.html.jinja").render(**values)
