"""Files that are known by their first bytes or by their ending, and are not read."""

from __future__ import annotations

from memory_models.frozen import frozen

PARQUET = b"PAR1"
ARROW_FILE = b"ARROW1"
ARROW_STREAM = b"\xff\xff\xff\xff"


@frozen
class Foreign:
    """A kind of file that is not read, and what a person can do with it."""

    name: str
    advice: str
    starts: tuple[bytes, ...] = ()
    """First bytes of such a file."""
    endings: tuple[str, ...] = ()
    """Endings of the name, which decide where the first bytes do not."""


_SAVE = "save the sheet as CSV (UTF-8) and give that"
_UNPACK = "unpack it and give the files in it"
FOREIGN: tuple[Foreign, ...] = (
    Foreign(
        name="an Excel workbook",
        advice=_SAVE,
        starts=(b"\xd0\xcf\x11\xe0",),
        endings=(".xlsx", ".xls", ".xlsm", ".xlsb"),
    ),
    Foreign(name="an OpenDocument sheet", advice=_SAVE, endings=(".ods",)),
    Foreign(
        name="arrays of NumPy",
        advice="write one JSON object per line (.jsonl)",
        starts=(b"\x93NUMPY",),
        endings=(".npz",),
    ),
    Foreign(name="a zip archive", advice=_UNPACK, starts=(b"PK\x03\x04",), endings=(".zip",)),
    Foreign(name="a 7z archive", advice=_UNPACK, starts=(b"7z\xbc\xaf\x27\x1c",)),
    Foreign(
        name="a tar archive",
        advice=_UNPACK,
        endings=(".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"),
    ),
    Foreign(
        name="a bzip2 file",
        advice="unpack it with bunzip2",
        starts=tuple(b"BZh%d1AY" % level for level in range(1, 10)),
        endings=(".bz2",),
    ),
    Foreign(name="an xz file", advice="unpack it with unxz", starts=(b"\xfd7zXZ",)),
    Foreign(name="a zstd file", advice="unpack it with unzstd", starts=(b"\x28\xb5\x2f\xfd",)),
    Foreign(
        name="an SQLite database",
        advice="write the rows of one table as CSV and give that",
        starts=(b"SQLite format 3",),
    ),
    Foreign(
        name="an HDF5 file",
        advice="write one JSON object per line (.jsonl)",
        starts=(b"\x89HDF\r\n",),
    ),
    Foreign(
        name="a pickle, which can run code when it is read,",
        advice="write one JSON object per line (.jsonl)",
        starts=(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        endings=(".pkl", ".pickle"),
    ),
    Foreign(name="a PDF", advice="write its text as JSON lines", starts=(b"%PDF",)),
    Foreign(name="a Feather file of the first version", advice="save it again", starts=(b"FEA1",)),
    Foreign(name="an ORC file", advice="write it as Parquet and give that", endings=(".orc",)),
    Foreign(name="an Avro file", advice="write it as Parquet and give that", starts=(b"Obj\x01",)),
    Foreign(
        name="a Git LFS pointer in place of the file",
        advice="fetch the file itself with git lfs pull",
        starts=(b"version https://git-lfs.github.com/spec/",),
    ),
    Foreign(
        name="a web page in place of the file",
        advice="fetch the file by its raw address",
        starts=(b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML"),
        endings=(".html", ".htm"),
    ),
    Foreign(
        name="XML",
        advice="write one JSON object per line (.jsonl)",
        starts=(b"<?xml",),
        endings=(".xml",),
    ),
    Foreign(
        name="YAML",
        advice="write one JSON object per line (.jsonl)",
        endings=(".yaml", ".yml"),
    ),
)
"""The order counts: a workbook is a zip archive as well, and its ending says more."""


def foreign(name: str, start: bytes) -> Foreign | None:
    """The kind of a file that is not read, by its name and first bytes; None: it may be read."""
    lower = name.lower()
    for kind in FOREIGN:
        if any(lower.endswith(ending) for ending in kind.endings):
            return kind
    for kind in FOREIGN:
        if any(start.startswith(sign) for sign in kind.starts):
            return kind
    return None
