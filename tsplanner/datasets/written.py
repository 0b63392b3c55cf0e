"""Conversations as rows of files: OpenAI's messages, which our own reader reads back unchanged."""

from __future__ import annotations

import gzip
import importlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, Protocol

import msgspec

from tsplanner.datasets.records import Conversation, Role, ToolCall, Turn
from tsplanner.errors import TsplannerError
from tsplanner.install import Extra, install_command
from tsplanner.runs import clear_disk_errors

GZIP = ".gz"
PARQUET = (".parquet", ".pq")
ROWS_OF_A_GROUP = 10_000
"""Rows of a Parquet file that are held at once."""


def message_row(row: Conversation) -> dict[str, Any]:
    """A row as messages, with ``tools``, ``timeseries`` and ``images`` where it has them."""
    if row.text is not None:
        return {"text": row.text}
    found: dict[str, Any] = {"messages": [_message(turn) for turn in row.turns]}
    if row.tools:
        found["tools"] = json.loads(row.tools)
    if row.timeseries:
        found["timeseries"] = row.timeseries
    if row.images:
        found["images"] = row.images
    return found


def _message(turn: Turn) -> dict[str, Any]:
    found: dict[str, Any] = {"role": str(turn.role), "content": turn.content}
    if turn.thoughts:
        found["reasoning_content"] = turn.thoughts
    if turn.tool_calls:
        found["tool_calls"] = [_call(call) for call in turn.tool_calls]
    if turn.name:
        found["name"] = turn.name
    if turn.tool_call_id:
        found["tool_call_id"] = turn.tool_call_id
    if turn.learned is not None:
        found["weight"] = int(turn.learned)
    return found


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def chatts_row(row: Conversation) -> dict[str, Any]:
    """A row as ChatTS writes it.

    Raises TsplannerError: it is more than a question and its answer, for which there is no place.
    """
    plain = [Turn(role=turn.role, content=turn.content) for turn in row.turns]
    roles = [turn.role for turn in plain]
    if roles != [Role.USER, Role.ASSISTANT] or plain != list(row.turns) or row.tools or row.images:
        raise TsplannerError(
            f"line {row.line} is more than a question and its answer, which is all that ChatTS's "
            "form holds: leave out --to, and the rows are written as messages"
        )
    question, answer = row.turns
    return {"input": question.content, "output": answer.content, "timeseries": row.timeseries}


class RowForm(StrEnum):
    """Forms that rows are written in."""

    MESSAGES = "messages"
    """OpenAI's messages, with series and tools beside them."""
    CHATTS = "chatts"
    """ChatTS's ``input``, ``output`` and ``timeseries``."""


FORMS: dict[RowForm, Callable[[Conversation], dict[str, Any]]] = {
    RowForm.MESSAGES: message_row,
    RowForm.CHATTS: chatts_row,
}
"""What makes a row of each form."""


class RowSink(Protocol):
    """Takes rows."""

    def write(self, row: dict[str, Any]) -> None:
        """Add a row."""


@contextmanager
def row_file(target: Path) -> Iterator[RowSink]:
    """A file of rows by its ending: JSON lines, packed for ``.gz``, or Parquet.

    It is written whole or not at all. Raises TsplannerError: the disk is full, or pyarrow is
    missing for Parquet.
    """
    with clear_disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        made = NamedTemporaryFile(  # noqa: SIM115 closed below
            "wb", dir=target.parent, prefix=f".{target.name}.", delete=False
        )
    try:
        with clear_disk_errors(target.parent):
            with made, _sink(target, made) as sink:
                yield sink
            # A temporary file is for its owner alone; a data set is made like any other file.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(made.name, 0o666 & ~mask)
            Path(made.name).replace(target)
    finally:
        Path(made.name).unlink(missing_ok=True)


def _sink(target: Path, stream: Any) -> AbstractContextManager[RowSink]:
    if target.suffix.lower() in PARQUET:
        return _ParquetSink(stream)
    return _LinesSink(stream, packed=target.suffix.lower() == GZIP)


class _LinesSink(AbstractContextManager["_LinesSink"]):
    """JSON lines."""

    def __init__(self, stream: IO[bytes], *, packed: bool) -> None:
        # Without a name and a time two files of the same rows are the same bytes.
        self._packed = gzip.GzipFile("", "wb", fileobj=stream, mtime=0) if packed else None
        self._stream: IO[bytes] = self._packed or stream  # type: ignore[assignment]

    def write(self, row: dict[str, Any]) -> None:
        self._stream.write(msgspec.json.encode(row) + b"\n")

    def __exit__(self, *_: object) -> None:
        if self._packed is not None:
            self._packed.close()


class _ParquetSink(AbstractContextManager["_ParquetSink"]):
    """Parquet, in groups of rows. Tools are text there, for their fields differ from row to row."""

    def __init__(self, stream: IO[bytes]) -> None:
        try:
            self._arrow = importlib.import_module("pyarrow")
            self._parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise TsplannerError(
                f"Parquet is written by pyarrow, which is not installed: "
                f"{install_command(Extra.DATA)}, or name a file that ends in .jsonl"
            ) from None
        self._rows: list[dict[str, Any]] = []
        self._schema = _schema(self._arrow)
        self._writer = self._parquet.ParquetWriter(stream, self._schema)

    def write(self, row: dict[str, Any]) -> None:
        if "tools" in row:
            row = {**row, "tools": json.dumps(row["tools"], ensure_ascii=False)}
        self._rows.append(row)
        if len(self._rows) == ROWS_OF_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def __exit__(self, kind: object, *_: object) -> None:
        if self._rows and kind is None:
            self._flush()
        self._writer.close()


def _schema(arrow: Any) -> Any:
    """Columns of all that a row may have; what it has not is null."""
    text = arrow.string()
    function = arrow.struct([("name", text), ("arguments", text)])
    call = arrow.struct([("id", text), ("type", text), ("function", function)])
    texts = ("role", "content", "reasoning_content", "name", "tool_call_id")
    message = arrow.struct(
        [
            *((name, text) for name in texts),
            ("tool_calls", arrow.list_(call)),
            ("weight", arrow.int8()),
        ]
    )
    return arrow.schema(
        [
            ("messages", arrow.list_(message)),
            ("text", text),
            ("input", text),
            ("output", text),
            ("tools", text),
            ("timeseries", arrow.list_(arrow.list_(arrow.float64()))),
            ("images", arrow.list_(text)),
        ]
    )
