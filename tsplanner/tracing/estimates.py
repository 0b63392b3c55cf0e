"""Estimates as documents: by formula if the model has a reader, otherwise or on demand by trace."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from memory_models.device import Device
from memory_models.estimate import estimate_memory
from memory_models.frozen import frozen
from memory_models.result import Interval, MemoryEstimate
from tsplanner.errors import TsplannerError
from tsplanner.models.config import NoReaderError
from tsplanner.models.source import ModelFiles, ModelSource
from tsplanner.planner.explain.deepspeed_sizes import deepspeed_notes
from tsplanner.planner.gather.cases import Case, read_case
from tsplanner.planner.gather.recipes import under
from tsplanner.reading import decoded
from tsplanner.tracing.records import HybridKernels

if TYPE_CHECKING:  # only a trace needs these: an estimate by formula starts without them
    from tsplanner.tracing.cases import Traced, TracedCase


@frozen
class Tracing:
    """When to trace, whose code a trace may run, and which kernels it takes."""

    always: bool = False
    trust_remote_code: bool = False
    hybrid_kernels: HybridKernels = HybridKernels.INSTALLED

    def case(
        self, given: Mapping[str, object], files: dict[str, ModelFiles], devices: dict[str, Device]
    ) -> TracedCase:
        """A case to trace; raises as ``read_traced_case``."""
        from tsplanner.tracing.cases import read_traced_case

        return read_traced_case(
            given,
            files,
            devices,
            trust_remote_code=self.trust_remote_code,
            hybrid_kernels=self.hybrid_kernels,
        )


@frozen
class Estimated:
    """One finished case."""

    name: str
    estimate: MemoryEstimate
    document: dict[str, object]


def formula_of(
    given: Mapping[str, object],
    models: dict[str, ModelSource],
    devices: dict[str, Device],
    tracing: Tracing,
) -> Estimated | None:
    """The formulas' estimate; None if a trace is wanted or is the only way."""
    if tracing.always:
        return None
    try:
        case = read_case(given, models, devices)
    except NoReaderError as error:
        from tsplanner import install

        install.require(f"{error} Tracing it instead", install.TRACING)
        return None
    return by_formula(case)


def by_formula(case: Case) -> Estimated:
    """The formulas' estimate of a case. Raises ValueError: it cannot run."""
    estimate = estimate_memory(case.architecture, case.settings, case.device, replay=True)
    if case.settings.sharding.zero_stage:
        notes = deepspeed_notes(
            case.architecture, case.settings.sharding, case.settings.base.quantization
        )
        estimate = replace(estimate, assumptions=(*estimate.assumptions, *notes))
    estimate = replace(estimate, assumptions=(*estimate.assumptions, *case.notes))
    estimate = under(estimate, case.recipe)
    return Estimated(name=case.architecture.name, estimate=estimate, document=document(estimate))


def from_trace(result: Traced | TsplannerError) -> Estimated | TsplannerError:
    """A finished trace as a document with the formulas' figures; an error is returned as it is."""
    if isinstance(result, TsplannerError):
        return result
    from tsplanner.tracing.cases import largest_tensors

    recipe = result.case.recipe
    formula = None if result.formula is None else under(result.formula, recipe)
    extra = {
        "formula": None if formula is None else _quantities(formula),
        "alive_at_peak": largest_tensors(result.trace),
    }
    estimate = under(result.estimate, recipe)
    return Estimated(
        name=result.case.name, estimate=estimate, document={**document(estimate), **extra}
    )


MOST_KNOWN = 20_000
"""Answers that are kept, of some 1 KB each."""
RunTraces = Callable[["Sequence[TracedCase]", "Callable[[Traced | TsplannerError], None]"], None]


class Lines:
    """Writes the estimate or the error of each line of a file, in order; each model is read once.

    Formulas answer line by line. From the first line that needs a trace, all lines wait for the
    single process that traces every case.
    """

    def __init__(
        self,
        out: TextIO,
        tracing: Tracing,
        run_traces: RunTraces,
    ) -> None:
        """``run_traces`` traces all cases that need it, in order."""
        self.out, self.tracing, self.run_traces = out, tracing, run_traces
        self.models: dict[str, ModelSource] = {}
        self.files: dict[str, ModelFiles] = {}
        self.devices: dict[str, Device] = {}
        self.failed = 0
        """Number of cases without an estimate."""
        self.waiting: deque[tuple[object, dict[str, object] | TracedCase]] = deque()
        self.known: dict[str, tuple[str, bool]] = {}
        """Answers by line, as far as lines were answered by formula: many files repeat lines."""

    def run(self, lines: Iterable[str]) -> None:
        """Write one document per line."""
        for line in lines:
            if not line.strip():
                continue
            known = None if self.waiting else self.known.get(line)
            if known is not None:
                self._write(*known)
                continue
            self.waiting.append(self._read(line))
            self._write_ready(line)
        cases = [found for _, found in self.waiting if not isinstance(found, dict)]
        if cases:
            self.run_traces(cases, self._take)

    def _take(self, result: Traced | TsplannerError) -> None:
        """The outcome of the first line that waits for one."""
        given, _ = self.waiting[0]
        outcome = from_trace(result)
        if isinstance(outcome, TsplannerError):
            self.waiting[0] = (given, {"error": str(outcome)})
        else:
            self.waiting[0] = (given, outcome.document)
        self._write_ready()

    def _write_ready(self, line: str | None = None) -> None:
        """Write the answers at the head of the queue; ``line``: the only one that may wait."""
        while self.waiting and isinstance(found := self.waiting[0][1], dict):
            given, _ = self.waiting.popleft()
            text = json.dumps({"case": given, **found}) + "\n"
            failed = "error" in found
            self._write(text, failed)
            if line is not None and len(self.known) < MOST_KNOWN:
                self.known[line] = (text, failed)
            line = None

    def _write(self, text: str, failed: bool) -> None:
        self.failed += failed
        self.out.write(text)

    def _read(self, line: str) -> tuple[object, dict[str, object] | TracedCase]:
        try:
            given = decoded(line)
        except ValueError as error:
            return line.strip()[:2000], {"error": f"not valid JSON: {error}"}
        if not isinstance(given, dict):
            return given, {"error": "a case must be a JSON object"}
        try:
            found = formula_of(given, self.models, self.devices, self.tracing)
            if found is not None:
                return given, found.document
            return given, self.tracing.case(given, self.files, self.devices)
        except (TsplannerError, ValueError, OverflowError) as error:
            return given, {"error": str(error)}


def document(estimate: MemoryEstimate) -> dict[str, object]:
    """An estimate as plain values, by the names that scripts rely on."""
    return {
        **_quantities(estimate),
        "parameters": {
            "total": estimate.parameters_total,
            "trainable": estimate.parameters_trainable,
        },
        "components": {part.name: part.bytes for part in estimate.components},
        "peak_instant": estimate.peak_instant,
        "assumptions": list(estimate.assumptions),
    }


def _quantities(estimate: MemoryEstimate) -> dict[str, object]:
    return {
        "peak_allocated_bytes": _interval(estimate.peak_allocated_bytes),
        "peak_reserved_bytes": _interval(estimate.peak_reserved_bytes),
        "process_bytes": _interval(estimate.process_bytes),
        "host_bytes": _interval(estimate.host_bytes),
    }


def _interval(interval: Interval) -> dict[str, int]:
    return {"expected": interval.expected, "upper": interval.upper}
