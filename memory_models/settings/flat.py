"""Reads and writes composed settings by field names, without the names of the inner records.

Flags, cases of ``estimate`` and plans of version 1 name fields without their records. Field names
are therefore unique within a composed record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, get_type_hints

Composed = TypeVar("Composed")

RENAMED = {"kernels": "decoder_kernels", "packed_ranks": "adapter_ranks"}
"""Field names of version 0.1, each with the name of the field that replaced it."""
REPLACED: dict[str, tuple[str, Mapping[object, object]]] = {
    "host_checkpoints": ("inputs_on_device", {True: 0, False: None}),
}
"""Fields that have another name and other values today, by their older ones."""


def of_today(name: str, value: object) -> tuple[str, object]:
    """A field of an older version, with its value, as the field that took its place."""
    name = RENAMED.get(name, name)
    if name not in REPLACED:
        return name, value
    newer, values = REPLACED[name]
    return newer, values[value] if isinstance(value, bool) else value


def with_fields_of_today(owner: Any, record: str) -> Any:
    """What a file holds, in which a ``record`` of an older version has the fields of today."""
    inner = owner.get(record) if isinstance(owner, dict) else None
    if not isinstance(inner, dict):
        return owner
    return {**owner, record: dict(of_today(*each) for each in inner.items())}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def paths(kind: type) -> Mapping[str, tuple[str, ...]]:
    """The path to each field of a composed record, by the name of the field."""
    return dict(_paths(kind))


def _paths(kind: type) -> Iterator[tuple[str, tuple[str, ...]]]:
    hints = _hints(kind)
    for item in fields(kind):
        part = hints[item.name]
        if isinstance(part, type) and is_dataclass(part):
            yield from ((name, (item.name, *path)) for name, path in paths(part).items())
        else:
            yield item.name, (item.name,)


def field_types(kind: type) -> dict[str, Any]:
    """The type of each field of a composed record, by the name of the field."""
    found: dict[str, Any] = {}
    for name, path in paths(kind).items():
        owner = kind
        for step in path[:-1]:
            owner = _hints(owner)[step]
        found[name] = _hints(owner)[name]
    return found


def from_flat(kind: type[Composed], /, **values: object) -> Composed:
    """A composed record from the values of its fields; missing fields have their default.

    Raises:
        TypeError: a name is not a field of the record.
        ValueError: values exclude each other.
    """
    return _built(kind, _nested(kind, values))


def changed(record: Composed, /, **values: object) -> Composed:
    """A copy of a composed record with other values for some of its fields.

    Raises:
        TypeError: a name is not a field of the record.
        ValueError: values exclude each other.
    """
    return _replaced(record, _nested(type(record), values))


def flat(record: object) -> dict[str, Any]:
    """The values of a composed record by the names of its fields."""
    found = {}
    kind: Any = type(record)
    for name, path in paths(kind).items():
        value: Any = record
        for step in path:
            value = getattr(value, step)
        found[name] = value
    return found


def nested_values(kind: type, values: Mapping[str, object]) -> dict[str, Any]:
    """Plain values by field name, put where the composed record has them; nested ones stay.

    Files of version 0.1 list the fields of all records in one flat mapping.

    Raises:
        TypeError: a name is neither a field nor a record of the composed record.
    """
    records = {path[0] for path in paths(kind).values() if len(path) > 1}
    # ``kernels`` was a field of version 0.1 and is a record today: only a mapping is the record.
    whole = {key: value for key, value in values.items() if key in records and _is_mapping(value)}
    rest = {key: value for key, value in values.items() if key not in whole}
    return whole | _nested(kind, rest)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _nested(kind: type, values: Mapping[str, object]) -> dict[str, Any]:
    known, tree = paths(kind), {}  # type: ignore[var-annotated]
    for given, own in values.items():
        name, value = (given, own) if given in known else of_today(given, own)
        if name not in known:
            raise TypeError(f"{kind.__name__} has no field {given}")
        branch = tree
        for step in known[name][:-1]:
            branch = branch.setdefault(step, {})
        branch[name] = value
    return tree


def _built(kind: type[Composed], tree: Mapping[str, Any]) -> Composed:
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    return kind(
        **{
            name: _built(hints[name], value) if _is_branch(hints[name], value) else value
            for name, value in tree.items()
        }
    )


def _replaced(record: Composed, tree: Mapping[str, Any]) -> Composed:
    found = {}
    for name, value in tree.items():
        own = getattr(record, name)
        found[name] = _replaced(own, value) if is_dataclass(own) else value
    return replace(record, **found)  # type: ignore[type-var]


def _is_branch(kind: Any, value: object) -> bool:
    return isinstance(value, dict) and isinstance(kind, type) and is_dataclass(kind)
