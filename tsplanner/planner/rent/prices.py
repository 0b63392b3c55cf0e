"""Price files: machines that can be rented, what they cost an hour, and of which day that is.

A snapshot ships with tsplanner (``configs/prices/``); a person's own file replaces it. Nothing is
ever fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.units import GIB
from tsplanner.errors import TsplannerError, UsageError, did_you_mean, named, quoted
from tsplanner.hardware.describe import described_host
from tsplanner.hardware.detect import machine_for
from tsplanner.reading import read_yaml
from tsplanner.settings import configs_folder

MOST_CARDS = 8
"""Cards of one rented machine, where a price is of one card."""
FILE_KEYS = ("date", "currency", "source", "machines")
ROW_KEYS = ("cloud", "gpus", "price_per_hour", "host_memory_gib", "cpu_count", "up_to")


@frozen
class Offer:
    """One machine that can be rented."""

    cloud: str
    gpus: str
    """As for ``--gpus``."""
    machine: Machine
    price_per_hour: float
    """Of the machine, in the currency of its file."""


@frozen
class PriceFile:
    """Offers with the day that their prices are of."""

    day: date
    currency: str
    source: str
    offers: tuple[Offer, ...]

    def age_days(self, today: date) -> int:
        """Days from the prices to a day; 0 for prices of the future."""
        return max(0, (today - self.day).days)


def shipped_prices() -> Path:
    """The newest price file that ships with tsplanner."""
    return max((configs_folder() / "prices").glob("*.yaml"))


def read_prices(path: Path | None) -> PriceFile:
    """The offers of a file; None: of the one that ships with tsplanner.

    Raises:
        TsplannerError: the file cannot be read.
        UsageError: a key is unknown or missing, or a value is none that it can have.
    """
    found = path or shipped_prices()
    try:
        content = read_yaml(found)
    except OSError as error:
        raise TsplannerError(f"cannot read price file {found}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"price file {found} {error}") from error
    try:
        return _file(content)
    except UsageError as error:
        raise UsageError(f"price file {found}: {error}") from error


def _file(content: object) -> PriceFile:
    keys = _known(content, FILE_KEYS, required=("date", "machines"))
    day, rows = keys["date"], keys["machines"]
    if not isinstance(day, date):
        raise UsageError(f"date must be a day such as 2026-04-12, not {quoted(day)}")
    if not isinstance(rows, list) or not rows:
        raise UsageError("machines must be a list of machines with their prices")
    return PriceFile(
        day=day,
        currency=str(keys.get("currency", "")),
        source=str(keys.get("source", "")),
        offers=tuple(offer for row in rows for offer in _offers(row)),
    )


def _known(content: object, known: tuple[str, ...], required: tuple[str, ...]) -> dict[str, Any]:
    """The keys of a record, once all are known and none is missing."""
    if not isinstance(content, dict):
        raise UsageError(f"expected keys such as {required[0]}, not {quoted(content)}")
    for key in content:
        if key not in known:
            raise UsageError(f"unknown key {named(key)}.{did_you_mean(str(key)[:80], known)}")
    for key in required:
        if key not in content:
            raise UsageError(f"the key {named(key)} is missing in {quoted(content)}")
    return content


def _offers(content: object) -> Iterator[Offer]:
    """The machines of a row: one, or with ``up_to`` those of 1, 2, 4, ... cards."""
    row = _known(content, ROW_KEYS, required=("gpus", "price_per_hour"))
    gpus = str(row["gpus"])
    price = _number(row, "price_per_hour")
    most = int(_number(row, "up_to")) if "up_to" in row else 1
    if most > MOST_CARDS:
        raise UsageError(f"up_to must be at most {MOST_CARDS}, not {most}")
    count = 1
    while count <= most:
        text = gpus if count == 1 else f"{count}x {gpus}"
        machine = machine_for(text, None)
        if not machine.devices:
            raise UsageError(f"gpus {named(gpus)} names no GPU")
        yield Offer(
            cloud=str(row.get("cloud", "")),
            gpus=text,
            machine=_with_host(machine, row, count),
            price_per_hour=price * count,
        )
        count *= 2


def _with_host(machine: Machine, row: dict[str, Any], count: int) -> Machine:
    """The machine with the RAM and the cores that the row gives for each card."""
    if "host_memory_gib" not in row and "cpu_count" not in row:
        return machine
    memory, cores = machine.host.total_bytes, machine.host.cpu_count
    if "host_memory_gib" in row:
        memory = int(_number(row, "host_memory_gib") * GIB) * count
    if "cpu_count" in row:
        cores = int(_number(row, "cpu_count")) * count
    return replace(machine, host=described_host(memory, cores))


def _number(row: dict[str, Any], key: str) -> float:
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e6:
        raise UsageError(f"{key} must be a number above 0, not {quoted(value)}")
    return float(value)
