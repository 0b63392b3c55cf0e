"""docs/scripting.md lists the documents that ``--json`` really prints."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.planning import environment, line
from tests.test_docs import ROOT, text
from tsplanner import errors
from tsplanner.cli import VERBS

PAGE = text(ROOT / "docs" / "scripting.md")
ROW = re.compile(r"^\| `([^`]+)` \| (.*) \|$", flags=re.M)
DOCUMENTED = {command: set(re.findall(r"`(\w+)`", keys)) for command, keys in ROW.findall(PAGE)}
SOMETIMES = {"plan": {"deepspeed", "experiment"}, "estimate": {"formula", "alive_at_peak"}}
"""Keys that stand in a document under the condition that the page names."""
QUICK = {
    "plan": ["--gpus", "RTX 3090", "--model", "qwen2.5-0.5b"],
    "estimate": ["--model", "qwen2.5-0.5b"],
    "gpus": ["4090"],
    "models": ["qwen2.5-0.5b"],
    "state": [],
    "state --clear": [],
    "mcp": [],
    "plan --experiment": [],
    "report": [],
    "data": ["rows.jsonl"],
}
"""Commands that take no training, with what they are given."""


def test_every_verb_has_a_row() -> None:
    """And no row is of a verb that is gone."""
    assert {command.split()[0] for command in DOCUMENTED} == set(VERBS)


@pytest.mark.parametrize("command", QUICK)
def test_a_document_has_the_keys_that_the_page_lists(command: str, tmp_path: Path) -> None:
    """All of them, and no others."""
    (tmp_path / "saves").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    words = [*line()[:-1], *command.split(), *QUICK[command], "--json"]
    done = subprocess.run(
        words,
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    expected = DOCUMENTED[command] - SOMETIMES.get(command, set())
    assert set(json.loads(done.stdout)) == expected


def test_every_status_of_the_program_is_in_the_table() -> None:
    """And the help says the same ones."""
    listed = {int(number) for number in re.findall(r"\b\d+\b", PAGE.split("## The documents")[0])}
    known = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert known <= listed
    assert {143, 129} <= listed
