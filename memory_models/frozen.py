"""Frozen records, as ``dataclass(frozen=True, slots=True, kw_only=True)`` makes them, made faster.

The standard decorator writes and compiles six methods for each class; a plan needs some hundred
classes, and making them took a third of its time. ``frozen`` compiles ``__init__`` alone and shares
the other methods. ``fields``, ``replace``, ``asdict``, msgspec and mypy see a dataclass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

Made = TypeVar("Made")


@dataclass_transform(
    kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,)
)
def frozen(cls: type[Made]) -> type[Made]:
    """Make a class a frozen dataclass with slots, whose fields are given by name.

    Records are equal if they are of one class and their fields are. A record has no base class
    and uses no ``super()``, for the class with slots is made anew.

    Raises:
        ValueError: the default of a field is mutable.
    """
    plain: Any = dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
    found: dict[str, Field[Any]] = plain.__dataclass_fields__
    space = {name: value for name, value in vars(plain).items() if name not in found}
    space.pop("__dict__", None)
    space.pop("__weakref__", None)
    metaclass: Any = type(cls)
    made: Any = metaclass(
        cls.__name__,
        cls.__bases__,
        {
            **SHARED,
            **space,
            "__slots__": tuple(found),
            "__init__": _init(found, "__post_init__" in space),
            "_compared": staticmethod(
                _getter([item.name for item in found.values() if item.compare])
            ),
        },
    )
    made.__qualname__ = cls.__qualname__
    return made  # type: ignore[no-any-return]


def _init(found: dict[str, Field[Any]], checks: bool) -> Callable[..., None]:
    """``__init__`` with the fields' names as keywords."""
    scope: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    given, lines = ["self", "*"] if found else ["self"], []
    for name, item in found.items():
        value = name
        if item.default is not MISSING:
            scope[f"_default_{name}"] = item.default
            given.append(f"{name}=_default_{name}")
        elif item.default_factory is not MISSING:
            scope[f"_make_{name}"] = item.default_factory
            given.append(f"{name}=_missing")
            value = f"_make_{name}() if {name} is _missing else {name}"
        else:
            given.append(name)
        lines.append(f" _set(self, {name!r}, {value})")
    if checks:
        lines.append(" self.__post_init__()")
    exec(f"def __init__({', '.join(given)}):\n" + ("\n".join(lines) or " pass"), scope)
    made: Callable[..., None] = scope["__init__"]
    return made


def _getter(names: list[str]) -> Callable[[Any], Any]:
    """The values of some fields."""
    if not names:
        return lambda _: ()
    return attrgetter(*names)


def _eq(self: Any, other: Any) -> bool:
    if other.__class__ is not self.__class__:
        return NotImplemented  # type: ignore[no-any-return]
    return bool(self._compared(self) == self._compared(other))


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _repr(self: Any) -> str:
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
    return f"{type(self).__qualname__}({values})"


def _refuse(self: object, name: str, *_: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__slots__]


def _setstate(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__slots__, state, strict=True):
        object.__setattr__(self, name, value)


SHARED = {
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
}
"""Methods that are the same for every record, unless the record has its own."""
