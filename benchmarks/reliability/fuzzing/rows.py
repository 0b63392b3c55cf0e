"""Files of rows: those of published forms, one of them damaged, in every kind of file.

Each input holds a damaged row among good ones, so 10,000 inputs are 10,000 mutated rows. A row is
read, or it is left out with its line and with the field or the turn that is wrong.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.reliability.fuzzing.judge import Absurd
from benchmarks.reliability.fuzzing.mutate import damaged_bytes, damaged_value, written
from benchmarks.reliability.fuzzing.seeds import SAMPLE
from memory_models.architecture import TimeSeriesEncoder
from tsplanner.datasets.records import DataSource, DroppedRow, Fault, OnBad
from tsplanner.datasets.rows.columns import parsed_columns

CALL = {"name": "weather", "arguments": {"city": "Bern", "days": 2}}
TOOL = {
    "name": "weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
OPENAI_CALL = {
    "id": "c1",
    "type": "function",
    "function": {**CALL, "arguments": '{"city": "Bern"}'},
}
MESSAGES = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Is it on?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "No."},
]
SHAREGPT = [{"from": "human", "value": "Is it on?"}, {"from": "gpt", "value": "Yes."}]
FORMS: tuple[dict[str, Any], ...] = (
    {"instruction": "Add", "input": "1+1", "output": "2"},
    {"instruction": "Add", "input": "", "output": "2", "system": "s", "history": [["a", "b"], ["c", "d"]]},
    {"conversations": SHAREGPT, "system": "Be short.", "id": "identity_0"},
    {"conversations": [*SHAREGPT, {"from": "function_call", "value": json.dumps(CALL)},
                       {"from": "observation", "value": "sunny"}, {"from": "gpt", "value": "Sunny."}],
     "tools": json.dumps([TOOL])},
    {"conversation": [{"input": "a", "output": "b"}, {"input": "c", "output": "d"}], "source": "x"},
    {"conversations": [{"from": "human", "value": "a", "weight": None}, {"from": "gpt", "value": "b", "weight": 1}]},
    {"messages": MESSAGES},
    {"messages": [MESSAGES[1], {**MESSAGES[2], "weight": 0}, *MESSAGES[3:]]},
    {"messages": [{"role": "developer", "content": "Be short."}, *MESSAGES[1:3]], "prompt_id": "7"},
    {"messages": [MESSAGES[1], {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]},
                  {"role": "tool", "tool_call_id": "c1", "content": "sunny"}, MESSAGES[2]],
     "tools": [{"type": "function", "function": TOOL}]},
    {"messages": [MESSAGES[1], {"role": "assistant", "content": "", "function_call": CALL},
                  {"role": "function", "name": "weather", "content": "sunny"}, MESSAGES[2]], "functions": [TOOL]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                  {"role": "assistant", "content": [{"type": "text", "text": "c"}]}]},
    {"messages": [MESSAGES[1], {**MESSAGES[2], "reasoning_content": "Hm."}]},
    {"messages": [MESSAGES[1],
                  {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "w", "input": {}}]},
                  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "7"}]},
                  MESSAGES[2]]},
    {"prompt": "Is it on?", "completion": " Yes."},
    {"prompt": MESSAGES[:2], "completion": [MESSAGES[2]]},
    {"question": "Is it on?", "answer": "Yes.", "level": "easy"},
    {"query": "Is it on?", "response": "Yes.", "type": "x"},
    {"instruction": "Is it on?", "context": "The lamp.", "response": "Yes.", "category": "closed_qa"},
    {"problem": "1+1", "solution": "It is 2.", "answer": "2", "messages": MESSAGES[1:3]},
    {"text": "Once upon a time.", "meta": {"source": "web"}},
    {"content": "Once upon a time."},
    {"id": "1", "data": ["a", "b", "c", "d"]},
    {"dialog": ["a", "b"], "act": [1, 2]},
    {"input": "a", "output": "b"},
    {"messages": [{"role": "user", "content": "<ts><ts/>?"}, MESSAGES[2]], "timeseries": [[1.0, 2, 3.5]]},
    {"prompt": "a", "chosen": "b", "rejected": "c"},
    {"chosen": MESSAGES, "rejected": MESSAGES[1:], "score_chosen": 8.0},
    {"prompt": "a", "completion": "b", "label": True},
    {"messages": MESSAGES[1:3], "images": ["a.png"]},
    {"text": "a", "label": 1},
    {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]},
    *(json.loads(line) for line in SAMPLE.read_text().splitlines()[:4]),
)  # fmt: skip
"""One row of each published form, also of those that are refused by their name."""
NAMES = (
    "role", "from", "content", "value", "text", "messages", "conversations", "instruction", "input",
    "output", "prompt", "completion", "answer", "tools", "history", "system", "timeseries", "weight",
    "tool_calls", "images", "label", "chosen", "Question", "",
)  # fmt: skip
"""Names that a field may be given, so that it means something else."""
WAYS = ("lines", "lines", "lines", "array", "pretty", "gzip", "csv", "parquet", "columns", "bytes")
COLUMNS = (
    "prompt=instruction,answer=output", "text=content", "messages=data,user=human",
    "prompt=question,answer=answer,input=context", "assistant=gpt",
)  # fmt: skip
OF_BYTES = frozenset(
    {Fault.NOT_UTF8, Fault.NOT_JSON, Fault.NOT_CSV, Fault.CELLS, Fault.CUT_OFF, Fault.NOT_A_NUMBER}
)
"""Faults of a row as a whole, which has no field yet."""
NAMED = re.compile(
    r'"|turn \d|series|<ts|fields? |object|answer|question|time series|not empty|text is|by \w'
)
"""A reason that names a field, a turn or a series."""


def renamed(row: dict[str, Any], chance: Random) -> dict[str, Any]:
    """A row of which one field has another name, at any depth."""
    row = json.loads(json.dumps(row))
    inner: list[dict[str, Any]] = [row]
    for value in row.values():
        if isinstance(value, list):
            inner += [each for each in value if isinstance(each, dict)]
    holder = chance.choice(inner)
    if holder:
        old = chance.choice(list(holder))
        holder[chance.choice(NAMES)] = holder.pop(old)
    return row


def mutated(chance: Random) -> Any:
    """A row of a published form, damaged in its values, its names or its nulls."""
    row = chance.choice(FORMS)
    kind = chance.randrange(4)
    if kind == 0:
        return renamed(row, chance)
    if kind == 1:
        other = chance.choice(FORMS)
        return {**row, **{key: other[key] for key in chance.sample(list(other), 1)}}
    return damaged_value(row, chance)


class RowFiles:
    """Makes files of rows and reads them as ``plan`` and ``data`` do."""

    def __init__(self, folder: Path, encoder: TimeSeriesEncoder | None) -> None:
        self.folder, self.encoder = folder, encoder

    def made(self, chance: Random) -> bytes:
        """A way to read, a way to write, then a file with a mutated row among good ones."""
        rows = [mutated(chance), *chance.choices(FORMS, k=2)]
        chance.shuffle(rows)
        way = chance.randrange(len(WAYS))
        head = bytes([chance.randrange(256), way])
        return head + self._file(WAYS[way], rows, chance)

    def _file(self, way: str, rows: list[Any], chance: Random) -> bytes:
        if way == "array":
            return written(rows, chance)
        if way == "pretty":
            return b"\n".join(json.dumps(row, indent=2).encode(errors="replace") for row in rows)
        if way == "csv":
            return csv_of(rows)
        if way == "parquet":
            return parquet_of(rows)
        if way == "columns":
            names = sorted({name for row in rows if isinstance(row, dict) for name in row})
            columns = {
                n: [row.get(n) if isinstance(row, dict) else row for row in rows] for n in names
            }
            return written(columns, chance)
        lines = b"\n".join(written(row, chance) for row in rows)
        if way == "bytes":
            return damaged_bytes(lines, chance)
        return gzip.compress(lines) if way == "gzip" else lines

    def read(self, content: bytes) -> None:
        """Lengths and rows, refusing or dropping what is bad; every reason must say where."""
        from tsplanner.datasets.lengths.scan import ScanOptions, length_stats
        from tsplanner.datasets.rows.readers import read_rows

        first, way = content[0], WAYS[content[1] % len(WAYS)]
        endings = {"csv": ".csv", "parquet": ".parquet", "gzip": ".jsonl.gz"}
        path = self.folder / f"data{endings.get(way, '.jsonl')}"
        path.write_bytes(content[2:])
        encoder = self.encoder if first % 3 else None
        columns = parsed_columns(COLUMNS[first % len(COLUMNS)]) if first > 200 else ()
        source = DataSource(paths=(str(path),), columns=columns)
        reading = {"encoder": encoder, "text_only": encoder is None}
        kept = 0
        for row in read_rows(source, **reading, on_bad=OnBad.DROP):  # type: ignore[arg-type]
            kept += not isinstance(row, DroppedRow)
            if isinstance(row, DroppedRow):
                check_reason(row)
        stats = length_stats(
            source,
            cutoff_len=64,
            encoder=encoder,
            tokenizer_folder=None,
            on_bad=OnBad.DROP if first % 2 else OnBad.REFUSE,
            options=ScanOptions(dropped_file=self.folder / "dropped.txt"),
        )
        if kept < stats.rows_kept:
            raise Absurd(f"{stats.rows_kept} rows counted, {kept} read")


def check_reason(row: DroppedRow) -> None:
    """Refuse a reason without a line, or one that names neither a field nor a turn."""
    if row.line < 1:
        raise Absurd(f"line {row.line}")
    if row.fault not in OF_BYTES and not NAMED.search(row.reason):
        raise Absurd(f"no field is named: {row.reason:.80}")


def csv_of(rows: list[Any]) -> bytes:
    """Rows as a table, with lists and objects as JSON in its cells."""
    objects = [row for row in rows if isinstance(row, dict)] or [{}]
    names = list(dict.fromkeys(name for row in objects for name in row))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    for row in objects:
        cells = [row.get(name, "") for name in names]
        writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    return out.getvalue().encode(errors="surrogatepass")


def parquet_of(rows: list[Any]) -> bytes:
    """Rows as Parquet, where pyarrow can write them; otherwise as lines."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist([row for row in rows if isinstance(row, dict)]), out)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError):
        return json.dumps(rows[0]).encode(errors="replace")
    return out.getvalue()
