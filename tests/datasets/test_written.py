"""Conversations written as rows."""

from __future__ import annotations

import gzip
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.rows import conversation
from tsplanner.datasets.records import Conversation, Role, ToolCall, Turn
from tsplanner.datasets.rows.readers import read_rows
from tsplanner.datasets.written import chatts_row, message_row, row_file
from tsplanner.errors import TsplannerError

CALL = ToolCall(name="level", arguments='{"tank": 3}', id="c1")


def test_a_row_is_messages_with_all_that_its_turns_have() -> None:
    """And nothing that they have not."""
    row = Conversation(
        turns=(
            Turn(role=Role.SYSTEM, content="Be brief."),
            Turn(role=Role.USER, content="Level?", name="ann"),
            Turn(role=Role.ASSISTANT, thoughts="Ask.", tool_calls=(CALL,), learned=False),
            Turn(role=Role.TOOL, content="7", tool_call_id="c1"),
            Turn(role=Role.ASSISTANT, content="Seven.", learned=True),
        ),
        tools='[{"type": "function"}]',
        images=("a.png",),
        line=1,
    )
    assert message_row(row) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Level?", "name": "ann"},
            {
                "role": "assistant",
                "content": "",
                "reasoning_content": "Ask.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "level", "arguments": '{"tank": 3}'},
                    }
                ],
                "weight": 0,
            },
            {"role": "tool", "content": "7", "tool_call_id": "c1"},
            {"role": "assistant", "content": "Seven.", "weight": 1},
        ],
        "tools": [{"type": "function"}],
        "images": ("a.png",),
    }
    assert message_row(Conversation(text="All of it.", line=1)) == {"text": "All of it."}


def test_chatts_form_holds_a_question_and_its_answer() -> None:
    """A row that has more is refused by its line: it would lose what has no place."""
    row = conversation("Peak <ts><ts/>?", "Two.", ((1.0, 2.0),), line=7)
    assert chatts_row(row) == {
        "input": "Peak <ts><ts/>?",
        "output": "Two.",
        "timeseries": ((1.0, 2.0),),
    }
    system = Turn(role=Role.SYSTEM, content="Be brief.")
    with pytest.raises(TsplannerError, match="line 7 is more than a question and its answer"):
        chatts_row(Conversation(turns=(system, *row.turns), line=7))
    weighted = Turn(role=Role.ASSISTANT, content="Two.", learned=False)
    with pytest.raises(TsplannerError, match="leave out --to"):
        chatts_row(Conversation(turns=(row.turns[0], weighted), line=7))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_file_of_rows_is_lines_packed_by_its_ending(name: str, tmp_path: Path) -> None:
    """Twice the same rows are twice the same bytes, and others may read the file."""
    written = []
    for folder in ("one", "two"):
        target = tmp_path / folder / name
        with row_file(target) as sink:
            sink.write({"text": "Ä"})
            sink.write({"text": "b"})
        written.append(target.read_bytes())
        assert stat.S_IMODE(target.stat().st_mode) & 0o444
        assert [path.name for path in target.parent.iterdir()] == [name]
    assert written[0] == written[1]
    content = gzip.decompress(written[0]) if name.endswith(".gz") else written[0]
    assert [json.loads(line) for line in content.splitlines()] == [{"text": "Ä"}, {"text": "b"}]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A row that cannot be written leaves the file of before."""
    target = tmp_path / "rows.jsonl"
    target.write_text("before")
    with pytest.raises(TypeError), row_file(target) as sink:
        sink.write({"text": object()})
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """It names the folder."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    with (
        pytest.raises(TsplannerError, match="is not a writable directory"),
        row_file(blocked / "rows.jsonl"),
    ):
        pass


# A mark of a series without its series is refused, and hypothesis tries words of our own code.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: "<ts" not in text
)
WORD = st.text("abc_", min_size=1, max_size=6)
FILLED = TEXT.filter(str.strip)
CALLS = st.builds(
    ToolCall,
    name=WORD,
    arguments=st.dictionaries(WORD, st.integers(0, 9) | TEXT, max_size=2).map(
        lambda values: json.dumps(values, ensure_ascii=False)
    ),
    id=WORD,
)
QUESTIONS = st.builds(Turn, role=st.just(Role.USER), content=FILLED, name=st.just("") | WORD)
ANSWERS = st.builds(
    Turn,
    role=st.just(Role.ASSISTANT),
    content=FILLED,
    thoughts=st.just("") | FILLED,
    tool_calls=st.lists(CALLS, max_size=2).map(tuple),
    learned=st.none() | st.booleans(),
)
TOOL_ANSWERS = st.builds(Turn, role=st.just(Role.TOOL), content=FILLED, tool_call_id=WORD)
SYSTEMS = st.builds(Turn, role=st.sampled_from([Role.SYSTEM, Role.DEVELOPER]), content=FILLED)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Dialogues with and without a system text, tools and series, and plain text."""
    if draw(st.integers(0, 9)) == 0:
        return Conversation(text=draw(FILLED), line=1)
    turns = draw(st.lists(SYSTEMS, max_size=1))
    for _ in range(draw(st.integers(1, 3))):
        turns += [draw(QUESTIONS), draw(ANSWERS), *draw(st.lists(TOOL_ANSWERS, max_size=1))]
    turns += [draw(QUESTIONS), replace(draw(ANSWERS), learned=True)]
    values = st.floats(-1e6, 1e6)
    series = draw(st.lists(st.lists(values, min_size=1, max_size=3).map(tuple), max_size=2))
    first = next(place for place, turn in enumerate(turns) if turn.role is Role.USER)
    marks = "<ts><ts/>" * len(series)
    turns[first] = replace(turns[first], content=turns[first].content + marks)
    tools = draw(st.sampled_from(["", '[{"type": "function", "function": {"name": "f"}}]']))
    return Conversation(turns=tuple(turns), tools=tools, timeseries=tuple(series), line=1)


def placed(rows: list[Conversation]) -> list[Conversation]:
    """The rows as they come from the lines of one file; JSON of tools is compared by its values."""
    return [
        replace(row, line=line, tools=json.dumps(json.loads(row.tools)) if row.tools else "")
        for line, row in enumerate(rows, start=1)
    ]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet"])
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(rows=st.lists(conversations(), min_size=1, max_size=4))
def test_our_reader_reads_back_the_same_conversations(
    rows: list[Conversation], name: str, tmp_path: Path
) -> None:
    """Whatever was in them, and however the file is packed."""
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with row_file(tmp_path / name) as sink:
        for row in rows:
            sink.write(message_row(row))
    again = [row for row in read_rows(tmp_path / name) if isinstance(row, Conversation)]
    assert placed(again) == placed(rows)
