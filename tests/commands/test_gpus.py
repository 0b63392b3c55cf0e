"""``tsplanner gpus``: the cards and machines that ``--gpus`` takes, and why others are not."""

from __future__ import annotations

import json

import pytest

from tsplanner.commands.gpus import is_planned, run
from tsplanner.errors import UsageError
from tsplanner.hardware.gpus.cards import CATALOG
from tsplanner.hardware.gpus.instances import INSTANCES

Captured = pytest.CaptureFixture[str]


def test_every_card_and_machine_is_listed_with_its_source(capsys: Captured) -> None:
    """One line each; the sources are the makers' documents."""
    assert run() == 0
    said = capsys.readouterr().out
    for gpu in CATALOG:
        assert f"\n{gpu.name} " in said
        assert gpu.source in said
    for name in INSTANCES:
        assert name in said.lower()
    assert "Not planned for: P100 PCIe" in said


def test_a_part_of_a_name_finds_the_cards_and_the_machines_that_have_them(capsys: Captured) -> None:
    """AWS rents four A10G in a g5.24xlarge."""
    run(filter="a10g", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in document["gpus"]] == ["A10G"]
    machines = {one["name"]: one for one in document["machines"]}
    assert machines["g5.24xlarge"] == {
        "name": "g5.24xlarge",
        "gpus": "4x A10G",
        "ram_gib": 384,
        "cpu_count": 96,
    }


def test_an_architecture_is_a_filter(capsys: Captured) -> None:
    """Hopper: H100, H200, H20, H800 and GH200 have compute capability 9.0."""
    run(filter="Hopper", as_json=True)
    found = json.loads(capsys.readouterr().out)["gpus"]
    assert {"H200", "H20"} <= {one["name"] for one in found}
    assert {one["compute_capability"] for one in found} == {"9.0"}
    run(filter="sm_90", as_json=True)
    assert json.loads(capsys.readouterr().out)["gpus"] == found


def test_a_card_as_the_driver_prints_it_is_found(capsys: Captured) -> None:
    """The name of nvidia-smi, with vendor and family."""
    run(filter="NVIDIA GeForce RTX 4090", as_json=True)
    (card,) = json.loads(capsys.readouterr().out)["gpus"]
    assert card["name"] == "RTX 4090"
    assert card["matrix_flops"] == pytest.approx(165.2e12)
    assert card["total_bytes"] == [24 * 2**30]
    assert card["reported_gib"] == [23.635]


def test_cards_that_are_not_planned_for_are_refused_by_their_maker() -> None:
    """With what can be done."""
    with pytest.raises(UsageError, match="made by AMD, and only NVIDIA's GPUs are supported"):
        run(filter="MI300X")
    with pytest.raises(UsageError, match=r'unknown GPU "2080Tee"\. Did you mean "RTX 2080 Ti"'):
        run(filter="2080Tee")


def test_old_cards_are_listed_and_said_not_to_be_planned_for(capsys: Captured) -> None:
    """Pascal: current builds of PyTorch have no kernels for it."""
    run(filter="p40")
    assert "Not planned for: P40; today's PyTorch" in capsys.readouterr().out
    assert {gpu.generation for gpu in CATALOG if not is_planned(gpu)} == {"Pascal"}
