"""Which store a dataset has: its key changes with all that the tokens depend on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tsplanner import __version__
from tsplanner.datasets.records import ReadJob
from tsplanner.datasets.stamps import read_stamps
from tsplanner.datasets.store.columns import COLUMNS
from tsplanner.settings import state_parts

STORE_VERSION = 2
"""Version of the columns; a store of an older version is made anew."""


def store_folder() -> Path:
    """Where all stores lie."""
    return state_parts()["tokens"]


def store_key(job: ReadJob, document: bytes, on_bad: str) -> str:
    """Two hashes: of what is read, and of the files as they are now.

    ``document``: the tokenizer as a tokenizer.json. ``on_bad``: what is done about bad rows.

    Raises TsplannerError: a file is missing.
    """
    settings = (job.cutoff_len, str(job.encoder), str(job.loss_on), job.tokenizer_folder)
    asked = (job.source.paths, job.source.columns, str(on_bad), settings)
    made_by = (__version__, STORE_VERSION, tuple(COLUMNS))
    now = (read_stamps(job), hashlib.sha256(document).hexdigest(), made_by)
    return f"{_hash(asked)}-{_hash(now)}"


def _hash(facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
