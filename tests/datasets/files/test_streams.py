"""Opening of files: plain, compressed, damaged, missing, and things that are no files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tsplanner.datasets.files.streams import clear_errors, file_bytes, opened, whole
from tsplanner.errors import TsplannerError


@pytest.mark.parametrize("compressed", [False, True])
def test_bytes_are_read_behind_a_byte_order_mark(tmp_path: Path, compressed: bool) -> None:
    """Compressed or not, and a file without the mark keeps its first bytes."""
    for start in (b"\xef\xbb\xbf", b""):
        path = tmp_path / "rows"
        content = start + b'{"a": 1}\n'
        path.write_bytes(gzip.compress(content) if compressed else content)
        assert whole(path, compressed=compressed) == b'{"a": 1}\n'
        with opened(path, compressed=compressed) as stream:
            assert stream.readline() == b'{"a": 1}\n'


def test_a_gzip_file_that_was_cut_off_is_called_damaged(tmp_path: Path) -> None:
    """An interrupted download ends in the middle of the stream."""
    path = tmp_path / "rows.gz"
    path.write_bytes(gzip.compress(os.urandom(5000))[:-100])
    with pytest.raises(TsplannerError, match=r"rows\.gz is a damaged gzip file .*fetch the file"):
        whole(path, compressed=True)


def test_the_size_of_a_file_or_why_there_is_none(tmp_path: Path) -> None:
    """Missing files name the flag; nobody waits for a pipe."""
    path = tmp_path / "rows"
    path.write_bytes(b"abc")
    assert file_bytes(path) == 3
    with pytest.raises(TsplannerError, match=r"cannot be read: No such file.*; check --dataset"):
        file_bytes(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for device in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(TsplannerError, match="is a pipe or a device"):
            file_bytes(device)
    with pytest.raises(TsplannerError, match="null byte"):
        file_bytes(Path("a\0b"))


def test_an_error_while_reading_names_the_file() -> None:
    """The system's own words follow."""
    with pytest.raises(TsplannerError, match=r"dataset d cannot be read: Is a directory"):  # noqa: SIM117
        with clear_errors(Path("d")):
            raise IsADirectoryError(21, "Is a directory")
