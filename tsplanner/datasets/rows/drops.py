"""The log of dropped rows: it counts them by fault, keeps the first and writes all to a file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from tsplanner.console import one_line
from tsplanner.datasets.files.dataset import Placed
from tsplanner.datasets.records import DroppedKind, DroppedRow, Fault
from tsplanner.runs import clear_disk_errors

FIRST_LINES = 5
"""Lines that are named for each fault."""
FIRST_ROWS = 100
"""Dropped rows that are kept with their reasons."""

NO_FAULT_OF_THE_FILE = frozenset({Fault.OVER_CUTOFF, Fault.NOTHING_LEARNED})
"""Why rows leave although their file is as it should be."""


class DropLog(AbstractContextManager["DropLog"]):
    """Takes dropped rows one by one, keeps a few, and writes each as ``file:line: reason``."""

    def __init__(self, place: Callable[[Placed], str], target: Path | None) -> None:
        """``place``: where a row stands, as ``file:line``.

        ``target``: the file for all dropped rows, written whole or not at all; None: no file.
        """
        self.first: list[DroppedRow] = []
        self.rows = 0
        self.bad_rows = 0
        """Dropped rows that the dataset's owner has to fix; text over cutoff_len is no fault."""
        self.first_bad: DroppedRow | None = None
        self._lines: dict[Fault, list[int]] = {}
        self._counts: dict[Fault, int] = {}
        self._examples: dict[Fault, str] = {}
        self._place = place
        self._target = target
        self._file: IO[str] | None = None

    def add(self, row: DroppedRow) -> None:
        """Note a dropped row; rows come in file order."""
        self.rows += 1
        if row.fault not in NO_FAULT_OF_THE_FILE:
            self.bad_rows += 1
            self.first_bad = self.first_bad or row
        if len(self.first) < FIRST_ROWS:
            self.first.append(row)
        self._counts[row.fault] = self._counts.get(row.fault, 0) + 1
        self._examples.setdefault(row.fault, row.reason)
        lines = self._lines.setdefault(row.fault, [])
        if len(lines) < FIRST_LINES:
            lines.append(row.line)
        self._write(row, row.reason)

    def note(self, row: Placed) -> None:
        """Write a row that is trained on, with what was noticed in it."""
        self._write(row, f"kept; {row.reason}")

    def _write(self, row: Placed, words: str) -> None:
        if self._target is not None:
            self._open(self._target).write(f"{self._place(row)}: {one_line(words)}\n")

    def _open(self, target: Path) -> IO[str]:
        if self._file is None:
            with clear_disk_errors(target.parent):
                target.parent.mkdir(parents=True, exist_ok=True)
                # A rename replaces a file at once within one file system only, so the file lies
                # beside its target. A path may hold surrogates, which UTF-8 cannot write.
                self._file = NamedTemporaryFile(  # noqa: SIM115 closed when the log is
                    "w",
                    dir=target.parent,
                    prefix=f".{target.name}.",
                    encoding="utf-8",
                    errors="backslashreplace",
                    delete=False,
                )
        return self._file

    def kinds(self) -> tuple[DroppedKind, ...]:
        """Number of dropped rows by fault, the most frequent first."""
        return tuple(
            DroppedKind(
                fault=str(fault),
                rows=rows,
                first_lines=tuple(self._lines[fault]),
                example=self._examples[fault],
            )
            for fault, rows in sorted(self._counts.items(), key=lambda item: -item[1])
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the file its name, or delete the file of an earlier scan if no row was dropped.

        After an exception the scan is no whole one, and the list of an earlier scan stays.
        """
        if self._file is not None:
            self._file.close()
            made = Path(self._file.name)
            if self._target is not None and kind is None:
                made.replace(self._target)
            else:
                made.unlink(missing_ok=True)
        elif self._target is not None and kind is None:
            with suppress(OSError):
                self._target.unlink()
