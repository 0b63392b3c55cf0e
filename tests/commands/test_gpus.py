"""``tsplanner gpus``: what ``--gpus`` and ``--machine`` take by name."""

from __future__ import annotations

import json

import pytest

from tsplanner.commands.gpus import machine_names, run
from tsplanner.errors import UsageError
from tsplanner.hardware.describe import parse_gpus


def test_a_person_sees_cards_with_the_rates_of_their_datasheets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An RTX 3090 has 24 GiB at 936 GB/s and 71 TFLOP/s with fp32 accumulation."""
    assert run(part="3090", as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line.split() for line in lines if line.startswith("RTX 3090 "))
    assert row[:4] == ["RTX", "3090", "24", "86"]
    assert row[5] == "936"
    assert any("1x-rtx-3090-24gib" in line for line in lines)


def test_a_program_gets_what_the_flag_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """Every card that is listed can be planned for."""
    run(part="", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert len(found["cards"]) > 40
    for card in found["cards"]:
        size = "" if len(card["memory_gib"]) == 1 else f" {card['memory_gib'][0]}GiB"
        assert parse_gpus(card["name"] + size)
    assert found["machines"] == machine_names()
    assert "8x-h100-80gib" in machine_names()


def test_a_name_that_nothing_has_is_a_sentence() -> None:
    """With the way to describe any card."""
    with pytest.raises(UsageError, match=r'has "voodoo" in its name\. Any card .* "24GiB sm_86"'):
        run(part="voodoo", as_json=True)
