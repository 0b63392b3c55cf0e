"""What the docs show of a plan is what the program prints."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import PAGES, ROOT, name, text

BLOCK = re.compile(r"^```(?:console)?\n(.*?)^```", flags=re.M | re.S)
FOLLOWING = ("--dataset", "--probe", "--plan", "--machine my", "--machine slow")
"""Marks of a command that needs files or measurements which the page alone does not make."""


def examples() -> list[tuple[str, str, list[str]]]:
    """Page, command and shown lines of every plan for a described machine."""
    found = []
    for page in PAGES:
        for block in BLOCK.findall(text(page)):
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                command, *lines = part.splitlines()
                shown = [line.rstrip() for line in lines if line.strip() not in ("", "...")]
                alone = not any(mark in command for mark in FOLLOWING)
                if command.startswith("tsplanner plan") and "--gpus" in command and alone and shown:
                    found.append((name(page), command, shown))
    return found


@pytest.mark.parametrize(("page", "command", "shown"), examples())
def test_a_plan_in_the_docs_is_what_the_program_prints(
    page: str, command: str, shown: list[str], tmp_path: Path
) -> None:
    """Every line, in the order shown; three dots stand for lines that are left out."""
    words = shlex.split(command.partition("  #")[0])[1:]
    settings = {"TSPLANNER_STATE": str(tmp_path / "state"), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", *words],
        cwd=tmp_path,
        env={**os.environ, **settings},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    printed = iter(line.rstrip() for line in f"{done.stdout}{done.stderr}".splitlines())
    # ``in`` goes on behind the line that it found, so the order counts.
    missing = [line for line in shown if line not in printed]
    assert not missing, f"{page} shows what `{command}` does not print"


SERIES = re.compile(r"^## Rows from your own series\n.*?^```\n(.*?)^```", flags=re.M | re.S)
COUNTS = re.compile(r"\b\d+ of 24\b")
"""How many answers are right depends on the processor's arithmetic."""


@pytest.mark.slow
def test_three_commands_lead_from_a_table_to_an_adapter(tmp_path: Path) -> None:
    """As docs/your-data.md shows them, and with the lines that it shows."""
    block = SERIES.search(text(ROOT / "docs" / "your-data.md"))
    assert block is not None
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    parts = re.split(r"^\$ tsplanner ", block[1], flags=re.M)[1:]
    assert [part.split()[0] for part in parts] == ["data", "plan", "train"]
    for part in parts:
        command, *shown = [line for line in part.splitlines() if line != "..."]
        done = subprocess.run(
            [sys.executable, "-m", "tsplanner", *shlex.split(command)],
            cwd=tmp_path,
            env={
                **os.environ,
                "TSPLANNER_STATE": str(tmp_path / "state"),
                "PYTHONIOENCODING": "utf-8",
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed = iter(COUNTS.sub("N of 24", line) for line in done.stdout.splitlines())
        assert [line for line in shown if COUNTS.sub("N of 24", line) not in printed] == []
    assert len(list(tmp_path.glob("saves/tiny-chatts/lora/*/adapter/adapter_config.json"))) == 1
