"""A recorded run on the screen: its figures, whether they agree, its machines and notes."""

from __future__ import annotations

from memory_models.units import counted, format_gib
from tsplanner.commands.views.plan import seconds
from tsplanner.commands.views.screen import Screen
from tsplanner.planner.experiments.recorded import Experiment, experiment_names, read_experiment
from tsplanner.planner.experiments.replayed import TRAINERS, ExperimentRecord, OnMachine
from tsplanner.planner.plan import TimeEstimate


def print_record(record: ExperimentRecord | None, time: TimeEstimate | None = None) -> None:
    """Print the record of a planned run, if there is one, beside the plan's time."""
    if record is None:
        return
    screen = Screen()
    screen.line()
    lines = experiment_lines(record.experiment, record.machines, time)
    for number, (words, style) in enumerate(lines):
        screen.line(f"  {'' if number else 'Record':<9}{words}", style)


def experiment_lines(
    experiment: Experiment, machines: list[OnMachine], time: TimeEstimate | None = None
) -> list[tuple[str, str]]:
    """Pairs of words and style: figures, whether they agree, each machine, each note."""
    found, optimization = experiment.recorded, experiment.settings.optimization
    loss = "" if found.mean_train_loss is None else f", mean loss {found.mean_train_loss}"
    lines = [
        (
            f"{experiment.record}: {found.total_steps} steps of {found.seconds_per_step} s, "
            f"{found.samples_per_second} samples/s{loss}",
            "bold",
        )
    ]
    steps = experiment.total_steps(found.rounding)
    slow, fast = experiment.samples_per_second()
    lines += [
        _agreement(
            f"{counted(steps, 'step')}: {experiment.dataset.rows_kept} rows, "
            f"{optimization.effective_batch_size} per step, "
            f"{counted(optimization.num_train_epochs, 'epoch')}, {TRAINERS[found.rounding]}",
            experiment.steps_agree,
        ),
        _agreement(
            f"{slow:.4f} to {fast:.4f} samples/s: {experiment.dataset.rows_kept} rows x "
            f"{counted(optimization.num_train_epochs, 'epoch')} in {found.total_steps} x "
            f"{found.seconds_per_step} s",
            experiment.speed_agrees,
        ),
    ]
    if time is not None:
        lines.append(_in_time(found.seconds_per_step, time))
    lines += [_on_machine(found_on) for found_on in machines]
    return lines + [(f"! {note}", "yellow") for note in experiment.notes]


def _agreement(words: str, agrees: bool) -> tuple[str, str]:
    if agrees:
        return f"✔ {words}", "green"
    return f"✘ {words}: the record disagrees", "red"


def _in_time(recorded: float, time: TimeEstimate) -> tuple[str, str]:
    """Whether the recorded step lies within the plan's interval, or how far it is off."""
    margin = time.relative_error * time.step_seconds
    words = f"{recorded} s per step: {time.step_seconds:.3g} s ± {seconds(margin)} predicted"
    if time.holds(recorded):
        return f"✔ {words}", "green"
    factor = max(time.step_seconds / recorded, recorded / time.step_seconds)
    slower = "slower" if time.step_seconds > recorded else "faster"
    return f"✘ {words}, {factor:.1f} times {slower} than the record", "red"


def _on_machine(found: OnMachine) -> tuple[str, str]:
    word = "works" if found.fits else "cannot work"
    if found.fits and found.upper_bytes > found.free_bytes:
        word = "may work, tight,"
    return (
        f"{'✔' if found.fits else '✘'} {word} on {found.machine}: its trainer needs "
        f"{format_gib(found.needs_bytes)} GiB per card (95 %: {format_gib(found.upper_bytes)}), "
        f"{format_gib(found.free_bytes)} are free",
        "green" if found.fits else "red",
    )


def experiment_list() -> list[str]:
    """Every recorded run in a line: name, steps, speed and the record's own name."""
    rows = [(name, read_experiment(name)) for name in experiment_names()]
    width = max(len(name) for name, _ in rows)
    return [
        f"{name:<{width}}  {found.recorded.total_steps:>4} steps  "
        f"{found.recorded.samples_per_second:.3f} samples/s  {found.record}"
        for name, found in rows
    ]
