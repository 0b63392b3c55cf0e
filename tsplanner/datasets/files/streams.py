"""Opening of a dataset's files: plain or compressed, without a byte order mark."""

from __future__ import annotations

import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from tsplanner.errors import TsplannerError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BUFFER_BYTES = 1 << 20
GZIP_SIGN = b"\x1f\x8b"


def file_bytes(path: Path) -> int:
    """Size of a file. Raises TsplannerError: the file is missing, or is no file."""
    try:
        with clear_errors(path):
            found = path.stat()
    except ValueError as error:  # a name with a zero byte
        raise TsplannerError(f"dataset {path} cannot be read: {error}; check --dataset") from error
    if not stat.S_ISREG(found.st_mode):
        raise TsplannerError(
            f"dataset {path} is a pipe or a device, and rows are read more than once: write them "
            "into a file and give that as --dataset"
        )
    return found.st_size


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn errors of reading a file into one TsplannerError, which names the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TsplannerError(
            f"dataset {path} is a damaged gzip file ({error}); fetch the file again"
        ) from error
    except OSError as error:
        raise TsplannerError(
            f"dataset {path} cannot be read: {error.strerror or error}; check --dataset"
        ) from error


@contextmanager
def opened(path: Path, *, compressed: bool) -> Iterator[IO[bytes]]:
    """The bytes of a file, uncompressed and behind a byte order mark.

    Raises TsplannerError: the file cannot be read, also while its bytes are read.
    """
    with clear_errors(path), path.open("rb", buffering=BUFFER_BYTES) as plain:
        # A gzip stream buffers by itself, but reads lines faster through a second buffer.
        unpacked = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=plain)), BUFFER_BYTES)
        stream: IO[bytes] = unpacked if compressed else plain
        if not stream.peek(3).startswith(BYTE_ORDER_MARK):  # type: ignore[attr-defined]
            yield stream
            return
        stream.read(len(BYTE_ORDER_MARK))
        yield stream


def whole(path: Path, *, compressed: bool) -> bytes:
    """All bytes of a file, uncompressed. Raises TsplannerError: the file cannot be read."""
    with opened(path, compressed=compressed) as stream:
        return stream.read()
