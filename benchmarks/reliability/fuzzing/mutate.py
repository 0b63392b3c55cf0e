"""Damage of texts and of JSON values, as a crash, an editor or a hostile person leaves it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

BYTES = (
    b"\xff",
    b"\x00",
    b"\x1b[31m",
    b"\n",
    b'"',
    b"{",
    b"]",
    b"\xe2\x80\xa8",
    b"\xed\xa0\x80",
    b"\\ud800",
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 0.5, -0.5, 1e-300, 1e300, 2**31, 2**40, 2**63, 10**18, 10**30, -(2**63),
    float("nan"), float("inf"), -float("inf"), "", "x", "x" * 5000, "\x1b[31mred", "\ud800", "a\nb", "\u2028",
    "\x00", "../../etc", "1", "nan", "all-linear", "cpu", [], {}, [[]], [None], ["x"], [1, 2, 3], {"x": 1}, [0] * 500,
)  # fmt: skip
DEEP = "[" * 5000


def damaged_bytes(content: bytes, chance: Random) -> bytes:
    """One to three places of a file damaged: cut, doubled, overwritten or filled."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        place, width = chance.randrange(len(content) + 1), chance.choice((1, 1, 4, 40, 400))
        kind = chance.randrange(6)
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            content = content[:place] + content[place + width :]
        elif kind == 2:
            content = (
                content[:place] + content[place : place + width] * 2 + content[place + width :]
            )
        elif kind == 3:
            content = content[:place] + chance.choice(BYTES) + content[place + 1 :]
        elif kind == 4:
            content = content[:place] + chance.choice(BYTES) + content[place:]
        else:
            content = (
                content[:place] + chance.choice((b"[", b'{"a":', b"- ")) * 5000 + content[place:]
            )
    return content


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in list(items):
        yield value, key
        yield from places(inner)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def damaged_value(value: Any, chance: Random, *, among: frozenset[str] | None = None) -> Any:
    """One to three places of a JSON value damaged; ``among``: only under these keys where they are."""
    value = copy.deepcopy(value)
    # Most readers refuse another type at once; other numbers get farther in.
    numbers_only = chance.random() < 0.6
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        found = list(places(value))
        if numbers_only:
            found = [place for place in found if is_number(place[0][place[1]])] or found
        if among is not None:
            found = [place for place in found if place[1] in among] or found
        if not found:
            return chance.choice(VALUES)
        holder, key = chance.choice(found)
        old, kind = holder[key], chance.randrange(8)
        kind = 2 if numbers_only else kind
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[chance.choice((f"{key}x", "", "\x1b[1m", "x" * 3000))] = holder.pop(key)
        elif kind <= 3 and is_number(old):
            factor = chance.choice((-1, 0, 2, 2, 2, 4, 4, 8, 16, 10, 100, 1000, 2**20, 2**40))
            holder[key] = chance.choice(
                (
                    old * factor,
                    old + 1,
                    old - 1,
                    old // 2,
                    old // 4,
                    old / 3 if isinstance(old, float) else old * 3,
                )
            )
        elif kind == 4:
            other, inner = chance.choice(found)
            holder[key] = (
                copy.deepcopy(other[inner])
                if inner in other or (isinstance(other, list) and inner < len(other))
                else None
            )
        else:
            holder[key] = copy.deepcopy(chance.choice(VALUES))
    return value


def written(value: Any, chance: Random) -> bytes:
    """A value as JSON, sometimes with bytes damaged as well or with a nest that is too deep."""
    text = json.dumps(value, ensure_ascii=chance.random() < 0.8)
    if chance.random() < 0.01:
        text = text.replace(chance.choice(("1", "{", '"')), DEEP, 1)
    content = text.encode(errors="surrogatepass")
    return damaged_bytes(content, chance) if chance.random() < 0.05 else content


def damaged_json(value: Any, chance: Random, *, among: frozenset[str] | None = None) -> bytes:
    """A JSON text after damage of its value, of its bytes, or of both."""
    if chance.random() < 0.08:
        return damaged_bytes(json.dumps(value).encode(), chance)
    return written(damaged_value(value, chance, among=among), chance)
