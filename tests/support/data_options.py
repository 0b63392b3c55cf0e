"""What a person asks of a dataset, by flat names."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from tsplanner.commands.inputs.data_flags import DataOptions
from tsplanner.commands.inputs.row_reader import ReaderAsked
from tsplanner.datasets.records import DataSource

OF_READER = {field.name for field in fields(ReaderAsked)}  # type: ignore[arg-type]


def data_options(
    *files: Path, columns: tuple[tuple[str, str], ...] = (), **given: Any
) -> DataOptions:
    """Options for some files; each value goes to the record that has it."""
    reader = {name: given.pop(name) for name in list(given) if name in OF_READER}
    source = DataSource(paths=tuple(map(str, files)), columns=columns)
    return DataOptions(source=source, reader=ReaderAsked(**reader), **given)
