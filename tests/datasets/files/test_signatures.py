"""Files that are not read are known by what they are."""

from __future__ import annotations

import bz2
import io
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pytest

from tsplanner.datasets.files.signatures import foreign


def zipped() -> bytes:
    """A zip archive with one file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("rows.jsonl", "{}")
    return out.getvalue()


def database(folder: Path) -> bytes:
    """An SQLite database with one table."""
    path = folder / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table rows (a)")
    return path.read_bytes()


def tar() -> bytes:
    """A tar archive with nothing in it."""
    out = io.BytesIO()
    tarfile.open(fileobj=out, mode="w").close()
    return out.getvalue()


def test_real_files_of_other_kinds_are_known_whatever_their_name(tmp_path: Path) -> None:
    """Their first bytes say what they are."""
    known = {
        "a zip archive": zipped(),
        "a bzip2 file": bz2.compress(b"{}"),
        "an xz file": lzma.compress(b"{}"),
        "an SQLite database": database(tmp_path),
        "a pickle, which can run code when it is read,": pickle.dumps({"a": 1}),
        "a web page in place of the file": b"<!DOCTYPE html><html></html>",
        "a Git LFS pointer in place of the file": b"version https://git-lfs.github.com/spec/v1\n",
    }
    for name, content in known.items():
        found = foreign("rows.jsonl", content)
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rows.xlsx", "an Excel workbook"),
        ("rows.tar.gz", "a tar archive"),
        ("rows.yaml", "YAML"),
        ("rows.zip", "a zip archive"),
    ],
)
def test_an_ending_says_more_than_the_first_bytes(name: str, kind: str) -> None:
    """A workbook is a zip archive as well."""
    found = foreign(name, zipped())
    assert found is not None
    assert found.name == kind
    assert found.advice


def test_rows_are_not_foreign() -> None:
    """Neither JSON nor a table, whatever the first column is called."""
    for content in (b'{"a": 1}', b"[1]", b"ORCID,answer\n", b"PKey,answer\n", b"", tar()[:0]):
        assert foreign("rows.jsonl", content) is None
        assert foreign("rows.csv", content) is None
