"""What the training libraries say about themselves."""

from __future__ import annotations

import json

import pytest
import torch

from tsplanner.training.worker import environment_report
from tsplanner.training.worker.environment_report import main, report


def test_torch_says_its_version_and_its_build() -> None:
    """A build for the CPU has no architectures."""
    found = report("torch")
    assert found is not None
    assert (found["version"], found["cuda"]) == (torch.__version__, torch.version.cuda)
    assert bool(found["architectures"]) == (torch.version.cuda is not None)


def test_a_library_that_is_not_installed_has_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no line."""
    monkeypatch.setitem(environment_report.REPORTS, "no_such_library", dict)
    assert report("no_such_library") is None
    assert main(["no_such_library"]) == 0
    assert capsys.readouterr().out == ""


def test_an_import_that_fails_or_prints_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line of its error; what it printed goes to stderr."""

    def fails() -> dict[str, object]:
        print("noise")  # noqa: T201
        raise SystemExit("no driver\nand more")

    monkeypatch.setitem(environment_report.REPORTS, "json", fails)
    assert main(["json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"asked": "json", "error": "no driver"}
    assert err == "noise\n"
