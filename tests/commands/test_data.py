"""``tsplanner data``: what a person sees of rows, and what scripts get."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chat_rows import CHAT, TINY, chats, shown
from tests.support.data_options import data_options
from tests.support.rows import written
from tsplanner.commands.data import run
from tsplanner.datasets.records import LossOn, OnBad
from tsplanner.datasets.written import RowForm
from tsplanner.errors import TsplannerError, UsageError


def test_a_row_is_shown_as_the_template_writes_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Every answer and the mark that ends it carries loss, the line end behind it does not."""
    said = shown(capsys, chats(tmp_path), tokenizer=TINY)
    assert said.splitlines()[-13:] == [
        "",
        "row 1, line 1 · 60 tokens · 11 carry loss",
        "  <|im_start|>system↵",
        "  Answer briefly.<|im_end|>↵",
        "  <|im_start|>user↵",
        "  Open the valve?<|im_end|>↵",
        "  <|im_start|>assistant↵",
        "  ⟦It is open.<|im_end|>⟧↵",
        "  <|im_start|>user↵",
        "  Sure?<|im_end|>↵",
        "  <|im_start|>assistant↵",
        "  ⟦Sure.<|im_end|>⟧↵",
        "⟦ ⟧: tokens that carry loss",
    ]
    assert "2 of 3 rows kept" in said
    assert "line 2 (" in said


def test_every_row_that_leaves_can_be_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In a file, as by a plan."""
    path, listed = chats(tmp_path), tmp_path / "listed.txt"
    said = shown(capsys, path, list_file=listed)
    assert f"are listed in {listed}" in said
    assert listed.read_text().splitlines() == [
        f"{path}:2: no question followed by an answer",
        f"{path}:3: kept; same as an earlier row",
    ]


def test_loss_may_lie_on_the_last_answer_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Or on all of the row."""
    path = chats(tmp_path)
    last = shown(capsys, path, tokenizer=TINY, loss_on=LossOn.LAST)
    assert "  It is open.<|im_end|>↵" in last
    assert "⟦Sure.<|im_end|>⟧" in last
    whole = shown(capsys, path, tokenizer=TINY, loss_on=LossOn.ALL)
    assert "⟦<|im_start|>system↵⟧" in whole


def test_without_a_model_the_turns_are_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Behind their speakers."""
    said = shown(capsys, chats(tmp_path), show=2)
    assert "  user: Open the valve?\n  assistant: ⟦It is open.⟧\n" in said
    assert "row 3, line 3" in said


def test_the_row_of_a_line_is_shown_or_why_it_leaves(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A line at which no row begins is a wrong call."""
    path = chats(tmp_path)
    assert "line 2 is left out: no question followed by an answer" in shown(capsys, path, line=2)
    assert "row 3, line 3" in shown(capsys, path, line=3)
    with pytest.raises(UsageError, match="No row begins at line 9; the row before it begins at"):
        run(data_options(path, line=9))


def test_a_row_over_the_cutoff_is_shown_cut_and_one_with_series_leaves(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A cut could take the marks of a series."""
    assert "(cut: " in shown(capsys, chats(tmp_path), tokenizer=TINY, cutoff_len=48)
    series = {"input": "word " * 60 + "<ts><ts/>", "output": "Up.", "timeseries": [[1.0, 2.0]]}
    short = {**series, "input": "<ts><ts/>"}
    path = written(tmp_path, [short, series])
    said = shown(capsys, path, model="tiny-chatts", cutoff_len=100, line=2)
    assert "over --cutoff-len" in said


def test_a_row_without_loss_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its only answer has the weight 0."""
    turns = [CHAT["messages"][1], {**CHAT["messages"][2], "weight": 0}]
    path = written(tmp_path, [CHAT, {"messages": turns}])
    said = shown(capsys, path, tokenizer=TINY, line=2)
    assert "line 2 is left out: no token carries loss" in said


def test_rows_are_converted_to_messages(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What was left out is said, and the file is read back."""
    target = tmp_path / "new" / "rows.jsonl"
    said = shown(capsys, chats(tmp_path), convert=target)
    assert said.endswith(f"wrote 2 rows to {target}\n")
    assert [json.loads(line) for line in target.read_text().splitlines()] == [CHAT, CHAT]


def test_a_conversion_never_writes_over_its_rows_and_can_refuse_bad_ones(tmp_path: Path) -> None:
    """Nothing is written then."""
    path = chats(tmp_path)
    with pytest.raises(UsageError, match="would overwrite the rows"):
        run(data_options(path, convert=path))
    with pytest.raises(TsplannerError, match="no question followed by an answer"):
        run(data_options(path, convert=tmp_path / "x.jsonl", on_bad_rows=OnBad.REFUSE))
    with pytest.raises(TsplannerError, match="more than a question and its answer"):
        run(data_options(path, convert=tmp_path / "x.jsonl", form=RowForm.CHATTS))
    assert not (tmp_path / "x.jsonl").exists()


def test_columns_of_other_names_can_be_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As for a plan."""
    path = tmp_path / "asked.csv"
    path.write_text("ask,reply\nWhere?,Here.\n")
    said = shown(capsys, path, columns=(("prompt", "ask"), ("answer", "reply")))
    assert "  user: Where?\n  assistant: ⟦Here.⟧" in said


def test_several_files_are_one_dataset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Rows of the second have the lines of their own file."""
    first, second = chats(tmp_path), tmp_path / "more.csv"
    second.write_text("question,answer\nWhere?,Here.\n")
    assert run(data_options(first, second, show=3)) == 0
    said = capsys.readouterr().out
    assert f"{first} and 1 further file · 3 of 4 rows kept" in said
    assert "row 4, line 2 of file 2\n  user: Where?\n  assistant: ⟦Here.⟧" in said
    with pytest.raises(UsageError, match="--line is a line of one file"):
        run(data_options(first, second, line=2))


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    """Neither a training package nor rich; tokenizers only where there is a tokenizer.json."""
    program = (
        "import sys; from tsplanner.cli import main; "
        f"main(['data', {str(chats(tmp_path))!r}]); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'transformers', "
        "'numpy', 'tokenizers', 'pyarrow', 'rich'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
