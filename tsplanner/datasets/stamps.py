"""What tells whether files have changed since something was made of them."""

from __future__ import annotations

from pathlib import Path

from tsplanner.datasets.files.folders import dataset_files
from tsplanner.datasets.records import ReadJob

Stamp = tuple[str, int, int]

RENDERED_BY = (
    *("*.jinja", "additional_chat_templates/*.jinja", "*token*.json", "chat_template.json"),
    "config.json",  # it may name the end token of a base model
)
"""Files of a tokenizer's folder that the text of a row or its tokens depend on."""


def stamp(path: Path | None) -> Stamp | None:
    """Path, size and time of a file, which change when the file does; None for a missing file."""
    try:
        if path is None:
            return None
        found = path.stat()
    except OSError:
        return None
    return str(path.resolve()), found.st_size, found.st_mtime_ns


def read_stamps(job: ReadJob) -> tuple[Stamp | None, ...]:
    """Stamps of all files that the token rows of a dataset depend on.

    Raises TsplannerError: a path of the dataset is no file of rows.
    """
    paths = list(dataset_files([Path(each) for each in job.source.paths]).paths)
    if job.tokenizer_folder is not None:
        folder = Path(job.tokenizer_folder)
        paths += sorted({path for pattern in RENDERED_BY for path in folder.glob(pattern)})
    return tuple(stamp(path) for path in paths)
