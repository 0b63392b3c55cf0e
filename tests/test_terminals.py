"""Every verb on every terminal: narrow ones, old encodings, dumb ones, and pipes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.support import tiny
from tests.support.core_install import core_environment
from tsplanner.planner.files import write_plan

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
QUICK = {
    "plan": ("plan", "--model", "qwen2.5-7b", "--gpus", "2x RTX 3090", "--cutoff-len", "512"),
    "no plan": ("plan", "--model", "qwen2.5-72b", "--gpus", "T4", "--finetuning-type", "full"),
    "experiment": ("plan", "--experiment", "chatts-8b_rtx-6000_lora-r8"),
    "estimate": ("estimate", "--model", "qwen2.5-7b", "--sequence-length", "512"),
    "export": ("export", "torchrun"),
    "exporters": ("export",),
    "report": ("report", "--experiments"),
    "help": ("plan", "--help"),
    "usage": ("plan", "--model", "nope" * 9),
    "failure": ("train", "--run-folder", "nowhere", "--resume"),
}
"""Verbs that start no worker."""


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Variables of a user whose terminal says nothing by itself."""
    silent = ("COLUMNS", "NO_COLOR", "LC_ALL", "LANG", "PYTHONIOENCODING", "PYTHONUTF8")
    kept = {name: value for name, value in os.environ.items() if name not in silent}
    state = {"TSPLANNER_STATE": str(folder / "state"), "HF_HUB_OFFLINE": "1"}
    return {**kept, "TERM": "xterm-256color", **state, **more}


def on_terminal(folder: Path, width: int, *words: str, **variables: str) -> str:
    """What a person sees on a terminal of this width."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "tsplanner", *words],
        cwd=folder,
        env=environment(folder, **variables),
        stdin=there,
        stdout=there,
        stderr=there,
    ) as child:
        os.close(there)
        seen = bytearray()
        while True:
            try:
                chunk = os.read(here, 65536)
            except OSError:  # Linux says so when the other end has closed
                break
            if not chunk:
                break
            seen += chunk
        os.close(here)
        assert child.wait(timeout=60) in (0, 1, 2, 4)
    return seen.decode("utf-8").replace("\r\n", "\n")


def tiny_plan(folder: Path) -> Path:
    """The folder, with the tiny plan in it."""
    write_plan(tiny.plan(folder), folder / "saves" / "tiny" / "plan.json")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the tiny plan."""
    return tiny_plan(tmp_path)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "width", [40, pytest.param(60, marks=SLOW), 80, pytest.param(100, marks=SLOW)]
)
@pytest.mark.parametrize("name", QUICK)
def test_no_line_is_wider_than_the_terminal(name: str, width: int, folder: Path) -> None:
    """Whatever is printed folds under itself."""
    seen = ANSI.sub("", on_terminal(folder, width, *QUICK[name]))
    assert seen.strip()
    assert max(map(len, seen.split("\n"))) <= width


def test_the_columns_of_a_table_stay_where_there_is_room(folder: Path) -> None:
    """At 80 columns the sizes stand under each other; at 40 as well, without their bars."""
    for width in (40, 80):
        seen = ANSI.sub("", on_terminal(folder, width, *QUICK["plan"]))
        rows = [line for line in seen.split("\n") if re.match(r"  (expected|free now) ", line)]
        ends = {re.search(r"\d+\.\d+", row).end() for row in rows if re.search(r"\d", row)}  # type: ignore[union-attr]
        assert len(rows) == 2
        assert len(ends) == 1
        assert ("█" in seen) is (width == 80)


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.parametrize("name", ["plan", "no plan", "usage", "report"])
def test_no_sequence_reaches_a_terminal_that_wants_none(
    name: str, variables: dict[str, str], folder: Path
) -> None:
    """Neither colours nor bold letters."""
    assert "\x1b" not in on_terminal(folder, 80, *QUICK[name], **variables)


Answer = tuple[bytes, bytes, int]


def piped(
    folder: Path, words: tuple[str, ...], python: Path = Path(sys.executable), **variables: str
) -> Answer:
    """What a pipe gets of both streams, and the status."""
    done = subprocess.run(
        [python, "-m", "tsplanner", *words],
        check=False,
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        timeout=120,
    )
    return done.stdout, done.stderr, done.returncode


@pytest.fixture(scope="module")
def in_utf_8(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Answer]:
    """What a pipe with UTF-8 gets of a verb, asked once for all encodings beside it."""

    @cache
    def ask(name: str) -> Answer:
        folder = tiny_plan(tmp_path_factory.mktemp("utf-8"))
        return piped(folder, QUICK[name], PYTHONIOENCODING="utf-8")

    return ask


ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "gbk": {"PYTHONIOENCODING": "gbk"},
    "utf-8": {"LC_ALL": "POSIX"},
}
"""Variables of users whose terminal has no UTF-8; Python takes it in a POSIX locale."""
BARE = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Not even where it may."""


@pytest.mark.parametrize(
    ("codec", "variables"), [*ENCODINGS.items(), ("ascii", BARE)], ids=[*ENCODINGS, "bare"]
)
@pytest.mark.parametrize("name", ["plan", "no plan", "experiment", "usage", "report"])
def test_an_old_encoding_gets_plain_characters(
    name: str,
    codec: str,
    variables: dict[str, str],
    folder: Path,
    in_utf_8: Callable[[str], Answer],
) -> None:
    """The same status and words as with UTF-8, signs apart."""
    out, error, status = piped(folder, QUICK[name], **variables)
    wanted = in_utf_8(name)
    assert status == wanted[2]
    assert b"bug of tsplanner" not in error
    for stream, whole in ((out, wanted[0]), (error, wanted[1])):
        words = re.findall(r"[A-Za-z]{3,}", stream.decode(codec))
        assert words == re.findall(r"[A-Za-z]{3,}", whole.decode("utf-8"))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_documents_and_files_do_not_depend_on_the_encoding(encoding: str, folder: Path) -> None:
    """JSON is ASCII, files are UTF-8: here with a model and rows of Chinese names."""
    model = tiny.write_model(folder / "模型")
    rows = folder / "数据.jsonl"
    row = {"instruction": "上升 é", "input": "", "output": "下降 ✔"}
    rows.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for _ in range(20)), "utf-8")
    words = ("plan", "--model", str(model), "--dataset", str(rows), "--cutoff-len", "64", "--cpu")
    for more in ((), ("--json",)):
        out, error, status = piped(folder, (*words, *more), **ENCODINGS[encoding])
        assert (status, error) == (0, b"")
    document = json.loads(out.decode("ascii"))
    stored = json.loads((folder / document["path"]).read_text(encoding="utf-8"))
    assert stored == document["plan"]
    assert stored["dataset"]["name"] == "数据"
    for words in (("export", "torchrun"), ("report", "--json")):
        assert piped(folder, words, **ENCODINGS[encoding])[2] == 0


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an install for planning: its doctor imports no training library for seconds."""
    return core_environment(tmp_path_factory.mktemp("core") / "venv")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_doctor_does_not_depend_on_the_encoding(
    encoding: str, folder: Path, without_torch: Path
) -> None:
    """What stands in a document is ASCII; with PyTorch it is asked in the poorest encoding."""
    words = ("doctor", "--json", "--for", "plan")
    pythons = [without_torch, *([Path(sys.executable)] if encoding == "ascii" else [])]
    for python in pythons:
        out, _, status = piped(folder, words, python, **ENCODINGS[encoding])
        assert status == 0
        assert json.loads(out.decode("ascii"))


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_runs_do_not_depend_on_the_encoding(encoding: str, folder: Path) -> None:
    """Workers write their logs in UTF-8, whatever the terminal of the parent."""
    write_plan(tiny.plan(folder / "文件夹"), folder / "saves" / "tiny" / "plan.json")
    for words in (("probe",), ("probe", "--json"), ("train",)):
        out, error, status = piped(folder, words, **ENCODINGS[encoding])
        assert (status, error) == (0, b""), out
