"""Every command of the docs that reads committed measurements still prints its figures."""

from __future__ import annotations

import glob
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
READERS = (
    "accuracy/memory",
    "accuracy/published",
    "accuracy/sharded",
    "accuracy/step_intervals",
    "accuracy/step_times",
    "accuracy/streamed_times",
    "speed/gain",
)
"""Scripts that read measurements without being told which."""
LIMIT_SECONDS = 300


def documented() -> list[str]:
    """The commands, each once."""
    found = set()
    for page in PAGES:
        for command in re.findall(r"`python (benchmarks/[^`]+)`", page.read_text()):
            words = " ".join(command.split())
            script = words.split()[0].removeprefix("benchmarks/").removesuffix(".py")
            if "data/measurements/" in words or script in READERS:
                found.add(words)
    return sorted(found)


def files_of(word: str) -> list[str]:
    """What a shell makes of a word: braces and stars."""
    braces = re.search(r"\{(.*)\}", word)
    words = [word.replace(braces[0], each) for each in braces[1].split(",")] if braces else [word]
    return [name for each in words for name in sorted(glob.glob(each, root_dir=ROOT)) or [each]]


def test_the_docs_name_such_commands() -> None:
    """Else the next test would hold of nothing."""
    assert len(documented()) > 15


@pytest.mark.slow
@pytest.mark.parametrize("command", documented())
def test_a_documented_command_prints_its_figures(command: str) -> None:
    """Its status is 0, and it prints something."""
    script, *words = command.split()
    arguments = [name for word in words for name in files_of(word)]
    ended = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.strip()
