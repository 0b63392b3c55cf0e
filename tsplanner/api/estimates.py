"""``tsplanner.estimate``: the bytes of one configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Unpack

from memory_models.result import MemoryEstimate
from memory_models.units import format_gib
from tsplanner.api import notebook
from tsplanner.commands.estimate import estimated
from tsplanner.commands.inputs.keywords import options, words
from tsplanner.commands.inputs.verbs import calling
from tsplanner.console import command

if TYPE_CHECKING:
    from tsplanner.api.keywords import EstimateKeywords
    from tsplanner.tracing.estimates import Estimated

NOT_OF_ESTIMATE = frozenset({"cases"})
"""Flags of the verb that a call has no use for: it is one case."""


class Estimate:
    """Bytes of one training step, per process, each with its 95 % bound."""

    def __init__(self, found: Estimated, line: str) -> None:
        self._found = found
        self.command = line
        """The command line that gives the same answer."""

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._found.name

    @property
    def memory(self) -> MemoryEstimate:
        """The whole estimate as one frozen record."""
        return self._found.estimate

    @property
    def peak_bytes(self) -> int:
        """Expected bytes per process at the peak, as the driver counts them."""
        return self.memory.process_bytes.expected

    @property
    def peak_upper_bytes(self) -> int:
        """The 95 % bound of ``peak_bytes``."""
        return self.memory.process_bytes.upper

    def to_dict(self) -> dict[str, Any]:
        """The document of ``tsplanner estimate --json``."""
        return dict(self._found.document)

    def to_json(self, indent: int | None = None) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=indent)

    def __repr__(self) -> str:
        """Model and peak in one line."""
        process = self.memory.process_bytes
        return (
            f"<Estimate {self.model}: {format_gib(process.expected)} GiB per process "
            f"(95 %: {format_gib(process.upper)}), peak in {self.memory.peak_instant}>"
        )

    def _repr_html_(self) -> str:
        return notebook.estimate_html(self.model, self.memory, self.command)


def estimate(**given: Unpack[EstimateKeywords]) -> Estimate:
    """Bytes of one configuration; nothing is chosen.

    Takes the flags of ``tsplanner estimate`` as keywords:
    ``estimate(model="qwen2.5-7b", sequence_length=4096, lora_rank=16)``.

    Raises:
        UsageError: a keyword or its value is wrong, or the values exclude each other.
        TsplannerError: the model cannot be read, or not be traced.
    """
    line = words("estimate", given, NOT_OF_ESTIMATE)
    parsed = options("estimate", line)
    with calling(parsed):
        return Estimate(estimated(parsed), command("estimate", *line))
