"""``tsplanner plan --rent``: which machine, for how much, and of which day the prices are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tsplanner.cli import main

Captured = pytest.CaptureFixture[str]
PRICES = """date: 2026-01-01
currency: USD
source: a price list
machines:
  - {cloud: Here, gpus: A100 SXM4 80GB, host_memory_gib: 117, price_per_hour: 0.3, up_to: 2}
  - {cloud: There, gpus: RTX 3050 Laptop 4GB, price_per_hour: 0.1}
"""


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """A plan of Llama 3.1 70B with prices of one's own."""
    (tmp_path / "prices.yaml").write_text(PRICES, encoding="utf-8")
    saves = str(tmp_path / "saves")
    return [
        *("plan", "--model", "llama-3.1-70b", "--saves", saves),
        *("--rent", str(tmp_path / "prices.yaml")),
    ]


def test_the_machines_are_listed_with_cost_interval_and_age(
    asked: list[str], capsys: Captured
) -> None:
    """A person reads what is cheapest, what does not fit and how old the prices are."""
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "What to rent: cost of 1,000 samples" in said
    assert "A100 SXM4 80GB" in said
    assert "No plan fits: RTX 3050 Laptop 4GB" in said
    assert (
        "same command with --gpus 'A100 SXM4 80GB' --host-memory 117GiB instead of --rent" in said
    )
    assert "Prices of 2026-01-01, " in said
    assert "which is old: check them" in said
    assert "1 dearer or later machine not shown" in said


def test_a_program_gets_one_document(asked: list[str], capsys: Captured) -> None:
    """With hours and cost as intervals."""
    assert main([*asked, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["prices"]["date"] == "2026-01-01"
    assert document["prices"]["age_days"] > 300
    (small,) = document["no_plan_fits"]
    assert (small["cloud"], small["gpus"]) == ("There", "RTX 3050 Laptop 4GB")
    assert small["why"].startswith("Nothing fits: the smallest plan (")
    one = document["machines"][0]
    assert one["cost"]["lower"] < one["cost"]["expected"] < one["cost"]["upper"]
    assert one["cost"]["expected"] == pytest.approx(
        one["hours"]["expected"] * one["price_per_hour"]
    )


def test_nothing_that_fits_is_status_4(tmp_path: Path, capsys: Captured) -> None:
    """As for a plan of one machine."""
    path = tmp_path / "prices.yaml"
    path.write_text(
        "date: 2026-01-01\nmachines:\n  - {gpus: RTX 3050 Laptop 4GB, price_per_hour: 1}\n",
        encoding="utf-8",
    )
    words = ["--model", "llama-3.1-70b", "--rent", str(path), "--saves", str(tmp_path)]
    assert main(["plan", *words]) == 4
    assert "No plan fits: RTX 3050 Laptop 4GB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--gpus", "T4"], "--rent looks at many machines: leave out --gpus."),
        (["--nodes", "2"], "--rent looks at many machines: leave out --nodes."),
        (["--probe"], "--rent looks at many machines: leave out --probe."),
        (["--deadline", "8h"], "--deadline needs a dataset: without one the length of a run is"),
    ],
)
def test_what_says_nothing_to_many_machines_is_refused(
    asked: list[str], more: list[str], said: str, capsys: Captured
) -> None:
    """In one sentence, status 2."""
    assert main([*asked, *more]) == 2
    assert said in capsys.readouterr().err


def test_a_deadline_alone_is_refused(capsys: Captured) -> None:
    """It is for --rent."""
    assert main(["plan", "--deadline", "8h"]) == 2
    assert "--deadline is for --rent" in capsys.readouterr().err
