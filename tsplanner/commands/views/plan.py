"""A plan on the screen and as JSON: the answer, the reasons, the next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from memory_models.settings import LossKernel
from memory_models.units import counted, format_gib
from tsplanner.commands.views.screen import Screen, bar
from tsplanner.commands.views.subject import print_subject, short_count
from tsplanner.console import command
from tsplanner.planner.advice import Suggestion
from tsplanner.planner.compare import RankedCandidate, rounded_reason, rounds_otherwise
from tsplanner.planner.evaluate import Evaluated
from tsplanner.planner.explain.reasons import MemoryKind, Remark, RemarkKind
from tsplanner.planner.explain.sentences import (
    advice_sentence,
    checkpoint_words,
    describe,
    difference_words,
    explanation_sentence,
    refusal_sentence,
    remark_sentence,
    sentence,
)
from tsplanner.planner.explain.suggestions import FitSuggestion
from tsplanner.planner.forecast import Cost
from tsplanner.planner.plan import Plan, Verdict
from tsplanner.planner.rank import Choice, Failure
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.rules import asked_for
from tsplanner.planner.steps import epochs_of
from tsplanner.report.text import duration

VERDICTS = {
    Verdict.FITS: ("✔ FITS", "bold green"),
    Verdict.TIGHT: ("! TIGHT", "bold yellow"),
    Verdict.DOES_NOT_FIT: ("✘ DOES NOT FIT", "bold red"),
}
NAME_WIDTH, SIZE_WIDTH, BAR_WIDTH = 32, 9, 40
NARROWEST_BAR = 10
SMALLEST_SHARE = 0.004
"""Components below this share of the peak are summed up as "other"."""


def print_choice(
    request: PlanRequest,
    choice: Choice,
    path: Path | None,
    cost: Cost | None = None,
    *,
    probes: Sequence[str] = (),
    advised: Sequence[Suggestion] = (),
) -> None:
    """Print the whole screen of ``tsplanner plan``; ``probes``: the lines of a table of probes."""
    screen = Screen()
    print_assumed_host(screen, choice.remarks)
    print_subject(screen, request)
    print_verdict(screen, choice.plan, cost, choice.remarks)
    print_memory(screen, choice.plan)
    for number, line in enumerate(probes):
        screen.line(line, "" if number else "bold")
    if probes:
        screen.line()
    _print_alternatives(screen, request, choice)
    for number, words in enumerate(advice_lines(advised)):
        screen.line(f"  {'       ' if number else 'Advice '}   {words}", "dim" if number else "")
    if (why := choice.plan.model.without_weights) is not None:
        needs = "train and tune need --random-weights"
        screen.line(f"  NO WEIGHTS   {why}; {needs}", "bold yellow")
    for number, note in enumerate(choice.plan.assumptions):
        screen.line(f"  {'Assumed' if number == 0 else '       '}   {note}", "dim")
    screen.line()
    for number, words in enumerate(next_steps(choice.plan, path, probed=bool(probes))):
        screen.line(f"{'       ' if number else 'Next   '}{words}", "bold")


SHORT_NAMES = {"num_train_epochs": "epochs", "lora_rank": "rank", "learning_rate": "lr"}


def advice_lines(advised: Sequence[Suggestion]) -> list[str]:
    """Suggested learning settings in one line, and the rules behind them, a line each."""
    if not advised:
        return []
    values = [
        f"{SHORT_NAMES[row.setting]} {row.value:g}"
        + ("" if row.value == row.planned else f" (train takes the planned {row.planned:g})")
        for row in advised
    ]
    rules = [f"{SHORT_NAMES[row.setting]}: {advice_sentence(row.rules)}" for row in advised]
    start = f"tune starts from {' · '.join(values)}, unless you set another"
    return [f"{start}   (sources: --json)", *rules]


def next_steps(plan: Plan, path: Path | None, *, probed: bool = False) -> list[str]:
    """What to do after ``plan``: a command to paste, or what to do where the machine is.

    ``path`` None: the plan could not be stored.
    """
    if path is not None and plan.hardware.sharding.nodes > 1:
        jobs = [command("export", name, "--plan", path) for name in ("torchrun", "sbatch")]
        return [jobs[0], f"or for Slurm  {jobs[1]}"]
    if path is None or plan.machine.detected:
        return [next_command(path, probed=probed)]
    there = "to that machine and run there  tsplanner probe --plan plan.json"
    return [
        f"copy {shlex.quote(str(path))} {there}",
        f"or write a job for it here  {command('export', 'torchrun', '--plan', path)}",
    ]


def next_command(path: Path | None, *, probed: bool = False) -> str:
    """The command to paste after ``plan``; ``path`` None: the plan could not be stored."""
    if path is None:
        return "tsplanner plan --saves FOLDER   to store the plan where you may write"
    verb, tail = ("tune", ("--trials", 8)) if probed else ("probe", ())
    return command(verb, "--plan", path, *tail)


def print_assumed_host(screen: Screen, remarks: Sequence[Remark]) -> None:
    """Print that the host's RAM was assumed, if that decides the answer, before all else."""
    for remark in remarks:
        if remark.kind is RemarkKind.HOST_ASSUMED:
            screen.line()
            screen.line(f"! {remark_sentence(remark)}", "bold yellow")


def print_verdict(
    screen: Screen, plan: Plan, cost: Cost | None = None, remarks: Sequence[Remark] = ()
) -> None:
    """Print the answer: verdict, settings, peak, speed, price, and what to know of it."""
    word, style = VERDICTS[plan.verdict]
    screen.line(f"{word:<9}{settings_line(plan)}", style)
    process = plan.memory.process_bytes
    error = plan.time.step_seconds * plan.time.relative_error
    where = " on the tightest card" if plan.hardware.streaming.differs else " per card"
    where = "" if plan.hardware.accelerator == "cpu" else where
    screen.line(
        f"         peak {format_gib(process.expected)} GiB{where} "
        f"(95 %: {format_gib(process.upper)})   ·   "
        f"{seconds(plan.time.step_seconds)}/step ± {seconds(error)}   ·   {_length(plan)}"
    )
    if cost is not None:
        screen.line(f"         {_price(cost)}")
    print_remarks(screen, remarks)
    screen.line()


def print_remarks(screen: Screen, remarks: Sequence[Remark]) -> None:
    """Print what to know, except what stands before all else."""
    for remark in remarks:
        if remark.kind is not RemarkKind.HOST_ASSUMED:
            screen.line(f"  Note   {remark_sentence(remark)}", "yellow")


def settings_line(plan: Plan) -> str:
    """Learning and hardware settings in one line."""
    learning, hardware = plan.learning, plan.hardware
    method = str(learning.method.finetuning_type)
    if learning.method.finetuning_type.uses_adapter:
        method += f" r={learning.method.lora_rank}"
    parts = [
        f"{method} on {describe(hardware, trains_base=learning.method.trains_base)}",
        batch_words(hardware),
        checkpoint_words(hardware, _layers(plan)),
        f"{'fused' if hardware.kernels.loss_kernel is LossKernel.FUSED else 'plain'} loss",
        str(hardware.kernels.attention),
    ]
    return " · ".join(parts)


def batch_words(hardware: HardwareSettings) -> str:
    """How the rows of a step go through the model."""
    world_size = hardware.sharding.world_size
    times = f" x {world_size}" if world_size > 1 else ""
    if hardware.batch.is_packed:
        return (
            f"rows packed, up to {hardware.batch.token_budget:,} positions a pass, "
            f"{counted(hardware.batch.gradient_accumulation_steps, 'row')} a step{times}"
            + (f" = effective {hardware.effective_batch_size}" if times else "")
        )
    return (
        f"micro-batch {hardware.batch.micro_batch_size} x accumulation "
        f"{hardware.batch.gradient_accumulation_steps}{times}"
        f" = effective {hardware.effective_batch_size}"
    )


def _layers(plan: Plan) -> int | None:
    """Number of the model's decoder layers; None: no number of layers is checkpointed."""
    if plan.hardware.batch.checkpointed_layers is None:
        return None
    return plan.architecture.num_hidden_layers


def _length(plan: Plan) -> str:
    if not plan.dataset.lengths.rows_kept:
        return f"{plan.hardware.effective_batch_size / plan.time.step_seconds:.2g} samples/s"
    epochs = epochs_of(plan.learning, plan.time.steps_per_epoch)
    return (
        f"{counted(plan.time.total_steps, 'step')}, "
        f"{counted(round(epochs, 2), 'epoch')}, "
        f"about {duration(plan.time.total_seconds)} "
        f"± {duration(plan.time.total_margin)}"
    )


def _price(cost: Cost) -> str:
    """The cost of the run, in the currency of the price."""
    return (
        f"cost of {cost.of} about {money(cost.expected)} (95 %: {money(cost.lower)} to "
        f"{money(cost.upper)}): {cost.gpu_hours:.3g} GPU-hours at {money(cost.price_per_hour)}"
    )


def money(value: float) -> str:
    """An amount with two digits after the point, or two significant digits below a hundredth."""
    return f"{value:,.2f}" if value >= 0.01 else f"{value:.2g}"


def print_memory(screen: Screen, plan: Plan) -> None:
    """Print the memory by component, with bars on a terminal."""
    free = plan.free_bytes
    expected, upper = plan.memory.process_bytes.expected, plan.memory.process_bytes.upper
    screen.line(f"  Memory at the peak ({plan.memory.peak_instant})        GiB", "bold")
    other = 0
    for part in sorted(plan.memory.components, key=lambda found: -found.bytes):
        if part.bytes < SMALLEST_SHARE * expected:
            other += part.bytes
            continue
        screen.line(_row(screen, part.name, part.bytes, free))
    if other:
        screen.line(_row(screen, "other", other, free))
    screen.line(_row(screen, "expected", expected, free), "bold")
    screen.line(_row(screen, "95 % upper bound", upper, free))
    screen.line(_row(screen, "free now", free, free))
    screen.line()


def _row(screen: Screen, name: str, size: int, free: int) -> str:
    """A component with its size, and on a terminal with a bar where there is room for one."""
    names = NAME_WIDTH
    if screen.columns is not None:
        names = min(NAME_WIDTH, screen.columns - SIZE_WIDTH - 4)
    text = f"  {name:<{names}}{format_gib(size):>{SIZE_WIDTH}}"
    if screen.columns is None:
        return text
    room = min(BAR_WIDTH, screen.columns - len(text) - 2)
    return f"{text}  {bar(size / max(free, 1), room)}" if room >= NARROWEST_BAR else text


def _print_alternatives(screen: Screen, request: PlanRequest, choice: Choice) -> None:
    """Print the alternatives that the planner picked for a person, and the refusals."""
    rows = [["Also possible", "peak (95 %), GiB", "speed", "why not first"]]
    rows += [_alternative_row(row, choice) for row in choice.shown]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for number, (setting, peak, speed, reason) in enumerate(rows if choice.shown else []):
        words = f"  {setting:<{widths[0]}}  {peak:>{widths[1]}}  {speed:>{widths[2]}}  {reason}"
        screen.line(words, "" if number else "bold")
    others = [row for row in choice.front if row.evaluated.hardware != choice.plan.hardware]
    hidden = len(others) + len(choice.alternatives) - len(choice.shown)
    if hidden > 0:
        word = "more" if choice.shown else "other" if hidden == 1 else "others"
        screen.line(f"  … {hidden} {word} (--json lists all)", "dim")
    for number, refused in enumerate(asked_for(request, choice.refusals)):
        word = "Refused" if number == 0 else "       "
        screen.line(f"  {word}   {refusal_sentence(refused)}  [{refused.rule}]", "yellow")


def _alternative_row(row: RankedCandidate, choice: Choice) -> list[str]:
    needs = row.evaluated.memory.process_bytes
    return [
        difference_words(
            row.evaluated.hardware,
            choice.plan.hardware,
            trains_base=choice.plan.learning.method.trains_base,
        ),
        f"{format_gib(needs.expected)} ({format_gib(needs.upper)})",
        f"{row.relative_speed:.2f}x",
        "; ".join(_reasons(row, choice)),
    ]


def _reasons(row: RankedCandidate, choice: Choice) -> list[str]:
    """Why an alternative was not chosen, and what it rounds that the plan does not."""
    hardware, chosen = row.evaluated.hardware, choice.plan.hardware
    words = [explanation_sentence(row.explanation)]
    if rounds_otherwise(hardware, chosen):
        words.append(sentence(rounded_reason(hardware)))
    return list(dict.fromkeys(words))


def print_failure(request: PlanRequest, failure: Failure) -> None:
    """Print by how much the smallest plan does not fit, and the changes that would help."""
    screen = Screen()
    print_assumed_host(screen, failure.remarks)
    print_subject(screen, request)
    screen.line(f"✘ NOTHING FITS   {failure_sentence(request, failure)}", "bold red")
    for number, suggested in enumerate(failure.suggestions):
        word = "  What would make it fit" if number == 0 else " " * 24
        change = sentence(suggested.change, suggested.data)
        needs = f"{format_gib(suggested.needs_bytes)} GiB{_where(request, suggested)}"
        screen.line(f"{word}   {change} (needs {needs})")
    if not failure.suggestions:
        screen.line("  No single change would make it fit.")
    print_remarks(screen, failure.remarks)
    for refused in asked_for(request, failure.refusals, packages=True):
        screen.line(f"  Refused   {refusal_sentence(refused)}  [{refused.rule}]", "yellow")


def failure_sentence(request: PlanRequest, failure: Failure) -> str:
    """What the smallest plan needs and what is free, the memory that is lacking first."""
    smallest: Evaluated = failure.smallest
    method = request.learning.method
    whose = f"{method.finetuning_type} of {short_count(request.model.parameters_total)}"
    words = describe(smallest.hardware, trains_base=method.trains_base)
    needs, lack = smallest.memory.process_bytes, failure.shortage
    if lack.memory is MemoryKind.HOST and not request.on_cpu:
        return (
            f"{whose} needs {format_gib(lack.needs.expected)} GiB of host RAM "
            f"(95 %: {format_gib(lack.needs.upper)}) at its smallest ({words}), and "
            f"{format_gib(lack.free_bytes)} of {format_gib(request.machine.host.total_bytes)} may "
            f"be used; its {format_gib(needs.expected)} GiB per card would "
            f"{'fit' if needs.expected <= smallest.free_bytes else 'not fit either'}"
        )
    why = explanation_sentence(smallest.explanation)
    where = "" if request.on_cpu else " per card"
    return (
        f"{whose} needs {format_gib(needs.expected)} GiB{where} "
        f"(95 %: {format_gib(needs.upper)}) at its smallest ({words}); "
        f"{format_gib(smallest.free_bytes)} are free{': ' if why else ''}{why}"
    )


def _where(request: PlanRequest, suggested: FitSuggestion) -> str:
    """Whose memory the bytes of a suggestion are."""
    if request.on_cpu:
        return ""
    return " of host RAM" if suggested.of_host else " per card"


def seconds(value: float) -> str:
    """Seconds with two digits."""
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
