"""Price files: the snapshot that ships, a person's own file, and what is wrong with one."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from memory_models.units import GIB
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.planner.rent.prices import read_prices, shipped_prices


def prices(folder: Path, text: str) -> Path:
    """A price file of this day with these rows."""
    path = folder / "prices.yaml"
    path.write_text(f"date: 2026-11-29\ncurrency: EUR\nmachines:\n{text}", encoding="utf-8")
    return path


def test_the_snapshot_ships_with_its_day_and_source() -> None:
    """Every row is a machine that can be planned for."""
    found = read_prices(None)
    assert shipped_prices().stem == found.day.isoformat() == "2026-04-12"
    assert found.age_days(date(2026, 4, 22)) == 10
    assert "RunPod" in found.source
    assert len(found.offers) > 50
    assert all(offer.machine.devices and offer.price_per_hour > 0 for offer in found.offers)


def test_a_price_of_one_card_is_that_of_several_as_well(tmp_path: Path) -> None:
    """Four cards cost four times as much, with four times the RAM and the cores."""
    row = "  - {gpus: RTX 4090, price_per_hour: 0.5, host_memory_gib: 36, cpu_count: 8, up_to: 4}\n"
    one, two, four = read_prices(prices(tmp_path, row)).offers
    assert [one.gpus, two.gpus, four.gpus] == ["RTX 4090", "2x RTX 4090", "4x RTX 4090"]
    assert [each.price_per_hour for each in (one, two, four)] == [0.5, 1.0, 2.0]
    assert len(four.machine.devices) == 4
    assert four.machine.host.total_bytes == 144 * GIB
    assert four.machine.host.cpu_count == 32


def test_a_machine_of_a_cloud_brings_its_ram_and_cores(tmp_path: Path) -> None:
    """AWS's g5.12xlarge has 192 GiB and 48 vCPUs."""
    (offer,) = read_prices(
        prices(tmp_path, "  - {gpus: g5.12xlarge, price_per_hour: 5.67}\n")
    ).offers
    assert offer.machine.name == "g5.12xlarge"
    assert offer.machine.host.total_bytes == 192 * GIB
    assert offer.machine.host.cpu_count == 48


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{gpus: T4, price: 1}", 'unknown key "price". Did you mean "price_per_hour"'),
        ("{gpus: T4}", 'the key "price_per_hour" is missing'),
        ("{gpus: T4, price_per_hour: -1}", "price_per_hour must be a number above 0, not -1"),
        ("{gpus: MI300X, price_per_hour: 1}", "made by AMD"),
        ("{gpus: cpu, price_per_hour: 1}", 'gpus "cpu" names no GPU'),
        ("{gpus: T4, price_per_hour: 1, up_to: 99}", "up_to must be at most 8, not 99"),
        ("T4", "expected keys such as gpus, not"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_sentence(
    tmp_path: Path, row: str, said: str
) -> None:
    """With the name of the file."""
    path = prices(tmp_path, f"  - {row}\n")
    with pytest.raises(UsageError) as caught:
        read_prices(path)
    assert str(caught.value).startswith(f"price file {path}: ")
    assert said in str(caught.value)


def test_a_file_without_a_day_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """How old prices are is half of what they say."""
    path = tmp_path / "prices.yaml"
    path.write_text("date: soon\nmachines: [1]\n", encoding="utf-8")
    with pytest.raises(UsageError, match="date must be a day such as 2026-04-12, not 'soon'"):
        read_prices(path)
    with pytest.raises(TsplannerError, match=r"cannot read price file .*gone\.yaml: No such file"):
        read_prices(tmp_path / "gone.yaml")
