"""``tsplanner.plan`` and the Plan that it returns: look at it, probe it, export it, keep it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from memory_models.frozen import frozen
from memory_models.units import counted, format_gib
from tsplanner.api import notebook
from tsplanner.commands.inputs.keywords import options, words
from tsplanner.commands.inputs.verbs import calling
from tsplanner.commands.plan import planned
from tsplanner.commands.views.plan import settings_line
from tsplanner.console import command
from tsplanner.planner import plan as records
from tsplanner.planner.files import find_plan, folder_of_plan, plan_values, write_plan
from tsplanner.runs import PLAN_FILE, SAVES

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from tsplanner.api.keywords import ExportKeywords, PlanKeywords, ProbeKeywords
    from tsplanner.commands.export import Exported
    from tsplanner.commands.probe import Probed

NOT_OF_PLAN = frozenset({"experiment", "output", "probe", "probe_budget", "rent", "deadline"})
"""Flags of the verb that are methods here, or that are for the terminal alone."""
NOT_OF_A_METHOD = frozenset({"plan", "saves"})
"""Flags that name the plan, which a method of a Plan has."""


class Plan:
    """The fastest settings that fit, or a plan that was read from a file.

    In a notebook it shows itself; ``str`` and ``repr`` are short.
    """

    def __init__(
        self,
        record: records.Plan,
        *,
        saves: Path = SAVES,
        path: Path | None = None,
        line: str | None = None,
        document: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """``document`` makes what ``tsplanner plan --json`` prints of a plan that was just made."""
        self.record = record
        """The whole plan as one frozen record: model, dataset, machine, settings, estimates."""
        self.path = path
        """plan.json, if the plan was stored or read; None: neither."""
        self.command = line
        """The command line that makes the same plan; None: it was read from a file."""
        self._saves, self._document = saves, document

    @property
    def fits(self) -> bool:
        """Whether even the upper 95 % bound of the memory fits."""
        return self.record.verdict is records.Verdict.FITS

    @property
    def verdict(self) -> str:
        """``fits``, or ``tight`` where the expected peak fits and its 95 % bound does not."""
        return str(self.record.verdict)

    @property
    def settings(self) -> str:
        """Learning and hardware settings in one line."""
        return settings_line(self.record)

    @property
    def peak_bytes(self) -> int:
        """Expected bytes per process at the peak, as the driver counts them."""
        return self.record.memory.process_bytes.expected

    @property
    def peak_upper_bytes(self) -> int:
        """The 95 % bound of ``peak_bytes``."""
        return self.record.memory.process_bytes.upper

    @property
    def step_seconds(self) -> float:
        """Expected seconds of an optimizer step."""
        return self.record.time.step_seconds

    @property
    def total_seconds(self) -> float:
        """Expected seconds of the whole run: all steps and evaluations."""
        return self.record.time.total_seconds

    def to_dict(self) -> dict[str, Any]:
        """The document of ``tsplanner plan --json``, as far as it is known."""
        known = {"plan": plan_values(self.record)} if self._document is None else self._document()
        return known | {"path": None if self.path is None else str(self.path)}

    def to_json(self, indent: int | None = None) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=indent)

    def save(self, output: str | os.PathLike[str] | None = None) -> Path:
        """Write plan.json, to saves/<model>/plan.json unless told otherwise; returns its path.

        Raises TsplannerError: it cannot be written, or a run at work writes into that folder.
        """
        from tsplanner.folders.owner import refuse_led

        path = folder_of_plan(self._saves, self.record) / PLAN_FILE
        path = path if output is None else Path(output)
        refuse_led(path.parent)
        self.path = write_plan(self.record, path)
        return self.path

    def probe(self, **given: Unpack[ProbeKeywords]) -> Probe:
        """Run a few real steps and compare; the plan is stored first if it was not yet.

        Takes the flags of ``tsplanner probe``. A probe that ran out of memory is an answer and not
        an error: see ``Probe.ok``.

        Raises TsplannerError: a package is missing, or too little memory is free.
        """
        from tsplanner.commands.probe import asked, probed

        parsed = options("probe", words("probe", given, NOT_OF_A_METHOD))
        path = self.path or self.save()
        with calling(parsed):
            return Probe(probed(self.record, path, asked(parsed)))

    def export(self, name: str, **given: Unpack[ExportKeywords]) -> Export:
        """Write the plan for another launcher or trainer; it is stored first if it was not yet.

        ``name``: torchrun, accelerate, deepspeed, sbatch, skypilot, llamafactory, axolotl, trl.
        Takes the flags of ``tsplanner export``.

        Raises UsageError: there is no such exporter. TsplannerError: it could not run there.
        """
        from tsplanner.commands.export import exported, request_from

        line = words("export", given, NOT_OF_A_METHOD)
        where = ["--plan", str(self.path or self.save()), "--saves", str(self._saves)]
        parsed = options("export", [name, *where, *line])
        with calling(parsed):
            return Export(done=exported(request_from(parsed)))

    def __repr__(self) -> str:
        """Verdict, settings, peak and speed in one line."""
        plan = self.record
        process = plan.memory.process_bytes
        return (
            f"<Plan {plan.model.name}: {self.verdict}, {self.settings}, "
            f"{format_gib(process.expected)} GiB (95 %: {format_gib(process.upper)}) of "
            f"{format_gib(plan.free_bytes)}, {plan.time.step_seconds:.2g} s/step>"
        )

    def _repr_html_(self) -> str:
        return notebook.plan_html(self.record, self.settings, self.command)


class Probe:
    """A plan's prediction beside what its first steps took."""

    def __init__(self, found: Probed) -> None:
        self._found = found

    @property
    def ok(self) -> bool:
        """Whether all steps ran, within memory and time."""
        return self._found.ran

    @property
    def status(self) -> str:
        """How it ended: ``ok``, ``device_oom``, ``timeout`` …"""
        return str(self._found.record.status)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``tsplanner probe --json``."""
        return dict(self._found.document)

    def to_json(self, indent: int | None = None) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=indent)

    def __repr__(self) -> str:
        """The table that ``tsplanner probe`` prints."""
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """Prediction and measurement, or how the probe failed, in lines."""
        from tsplanner.commands.views.probe import result_lines

        found = self._found
        return result_lines(found.plan, found.record, found.path)

    def _repr_html_(self) -> str:
        return notebook.lines_html(self.lines)


@frozen
class Export:
    """The files of an export, and the command that starts them."""

    done: Exported

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that was written."""
        return self.done.paths

    @property
    def start(self) -> str:
        """The command that starts the run."""
        return self.done.by_hand + self.done.start

    @property
    def notes(self) -> tuple[str, ...]:
        """What differs under that launcher or trainer."""
        return self.done.notes

    def to_dict(self) -> dict[str, Any]:
        """The document of ``tsplanner export --json``."""
        return self.done.document

    def __repr__(self) -> str:
        """How many files, and how to start them."""
        return f"<Export of {counted(len(self.paths), 'file')}: {self.start}>"


def plan(**given: Unpack[PlanKeywords]) -> Plan:
    """The fastest plan that fits; nothing is printed, and nothing is stored before ``save``.

    Takes the flags of ``tsplanner plan`` as keywords, such as ``gpus="2x RTX 4090"``.

    Raises:
        UsageError: a keyword or its value is wrong.
        NoPlanFits: nothing fits; ``failure`` has the smallest plan and what would help.
        TsplannerError: the model, the dataset or the machine cannot be read.
    """
    line = words("plan", given, NOT_OF_PLAN)
    parsed = options("plan", line)
    with calling(parsed):
        made = planned(parsed)
    return Plan(
        made.choice.plan,
        saves=Path(parsed.saves),
        line=command("plan", *line),
        document=made.document,
    )


def load(path: str | os.PathLike[str] | None = None, saves: Path = SAVES) -> Plan:
    """A plan from plan.json or the folder of one; None: the newest under ``saves``.

    Raises TsplannerError: there is none, or it cannot be read.
    """
    record, file = find_plan(None if path is None else Path(path), Path(saves))
    return Plan(record, saves=Path(saves), path=file)
