"""What a rival is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

GIB = 2**30
MIB = 2**20
H200_GIB = 140.4
"""What an H200 reports; rivals that size by the card are told its card."""

Case = Mapping[str, Any]
"""A measured case, flat, as ``view`` of rivals.py writes it."""
Figures = tuple[float | None, float | None]
"""Bytes of the allocated (tensor) peak, and of the whole process; None: not predicted."""


class RefusedError(Exception):
    """The rival's own rules refuse this case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A rival, what it can be told, and what its number means.

    ``takes`` names, for every key that a rival has a word for or that its documentation fixes, the
    values it can express: other cases are left out. A key that is not in ``takes`` is one that the
    rival has no notion of; such a case is given to it without that key, and ``untold`` says so.
    """

    package: str
    version: str | None
    """Pinned; None: whatever the interpreter that runs the benchmark has."""
    takes: Mapping[str, tuple[object, ...]]
    untold: str
    meaning: str
    estimate: Callable[[Case], Figures]
    without_dependencies: bool = False
    """It pins what the others cannot live with, or pulls in a server for one formula."""

    def leaves_out(self, case: Case) -> str | None:
        """The first key of the case that this rival cannot express.

        Time-series encoders are in no rival; mixtures of experts are mapped to none.
        """
        barred = next((key for key in ("encoder", "experts") if case[key]), None)
        return barred or next(
            (key for key, can in self.takes.items() if case[key] not in can), None
        )
