"""Golden exports: up to date, and in words that their trainers know."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.golden import CASES, FOLDER, rendered

EVERY = [(exporter, name) for exporter, cases in CASES.items() for name in cases]
CHATTS = [name for name in CASES["llamafactory"] if name.startswith("chatts")]
FORK_ARGUMENTS = frozenset(
    (Path(__file__).parent / "fork_arguments.txt").read_text(encoding="utf-8").split()
)
"""Names of every argument that ChatTS-Training's own parser takes, at commit 8ef80ed."""


@pytest.mark.parametrize(("exporter", "name"), EVERY)
def test_golden_exports_are_up_to_date(exporter: str, name: str) -> None:
    """What is committed is what is written today; make golden renews it."""
    files = {file.name: file.text for file in rendered(exporter, name)}
    folder = FOLDER / exporter / name
    assert {path.name for path in folder.iterdir()} == set(files)
    for file, text in files.items():
        kept = (folder / file).read_text(encoding="utf-8")
        assert kept == text, f"{file}: run make golden"


def test_no_golden_export_is_left_over() -> None:
    """Every folder belongs to a case."""
    assert {(path.parent.name, path.name) for path in FOLDER.glob("*/*")} == set(EVERY)


@pytest.mark.parametrize("name", CHATTS)
def test_the_forks_parser_knows_every_word(name: str) -> None:
    """Its two arguments of its own among them."""
    folder = FOLDER / "llamafactory" / name
    said = yaml.safe_load((folder / "train.yaml").read_text(encoding="utf-8"))
    assert set(said) <= FORK_ARGUMENTS
    assert "train_timeseries_modules" in said
    assert {"timeseries_sft_lr", "train_timeseries_modules"} <= FORK_ARGUMENTS
