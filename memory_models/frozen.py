"""Frozen records, as ``dataclass(frozen=True, slots=True, kw_only=True)`` makes them, made faster.

The standard decorator writes and compiles six methods for each class; a plan needs some hundred
classes, and making them took a third of its time. ``frozen`` compiles ``__init__`` alone, and only
once it is called; the other methods are shared. ``fields``, ``replace``, ``asdict``, msgspec and
mypy see a dataclass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

Made = TypeVar("Made")


class _Fields:
    """``__dataclass_fields__``, made once somebody asks for it."""

    def __get__(self, record: object, kind: Any) -> dict[str, Field[Any]]:
        found: dict[str, Field[Any]] = {}
        for name, hint in kind._hints.items():
            default = kind._defaults.get(name, MISSING)
            item: Any = default if isinstance(default, Field) else field(default=default)
            item.name, item.type, item.kw_only = name, hint, True
            item._field_type = REGULAR
            found[name] = item
        kind.__dataclass_fields__ = found
        return found


@dataclass(init=False, repr=False, eq=False)
class _Plain:
    value: int


REGULAR = _Plain.__dataclass_fields__["value"]._field_type  # type: ignore[attr-defined]
"""How the standard library marks a field that is neither a ``ClassVar`` nor an ``InitVar``."""
COMPILED_AFTER = 16
"""Records of one class after which its ``__init__`` is compiled, which takes as long as some forty
calls of one that is not."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[Made]) -> type[Made]:
    """Make a class a frozen dataclass with slots, whose fields are given by name.

    Records are equal if they are of one class and their fields are. A ``cached_property`` is worked
    out once per record, and has a slot beside the fields. A record has neither a base
    class nor a ``ClassVar`` and uses no ``super()``, for the class with slots is made anew.

    Raises:
        ValueError: the default of a field is mutable; ``field(default_factory=…)`` makes a new one.
    """
    hints = cls.__annotations__
    space = {key: value for key, value in vars(cls).items() if key not in MADE_ANEW}
    defaults = {name: space.pop(name) for name in hints if name in space}
    for name, default in defaults.items():
        # The standard decorator takes the same sign for a mutable default.
        if default.__class__.__hash__ is None:
            raise ValueError(f"mutable default for field {name}: use default_factory")
    kept = [name for name in space if isinstance(space[name], cached_property)]
    derived = {name: space.pop(name).func for name in kept} | {KNOWN_HASH: _hash_of}
    declared = {name: each for name, each in defaults.items() if isinstance(each, Field)}
    compared = [name for name in hints if name not in declared or declared[name].compare]
    metaclass: Any = type(cls)
    own = {
        "__slots__": (*hints, *derived),
        "__init__": _first_init,
        "__dataclass_fields__": _Fields(),
        "_hints": hints,
        "_defaults": defaults,
        "_derived": derived,
        "_made": 0,
        "_compared": staticmethod(attrgetter(*compared) if compared else lambda _: ()),
    }
    made: Any = metaclass(cls.__name__, cls.__bases__, {**SHARED, **space, **own})
    made.__qualname__ = cls.__qualname__
    return made  # type: ignore[no-any-return]


KNOWN_HASH = "_known_hash"
"""The slot of a record's hash."""
MADE_ANEW = frozenset({"__dict__", "__weakref__"})
"""What a class with slots has none of."""


def _first_init(self: Any, **values: Any) -> None:
    """Fill the first records of a class field by field: most classes have few in a run."""
    kind = type(self)
    kind._made += 1
    if kind._made > COMPILED_AFTER:
        kind.__init__ = _init(kind)
    defaults = kind._defaults
    for name in kind._hints:
        if name in values:
            value = values.pop(name)
        elif name not in defaults:
            raise TypeError(f"{kind.__name__} is missing the field {name}")
        else:
            value = _default(defaults[name])
        object.__setattr__(self, name, value)
    if values:
        raise TypeError(f"{kind.__name__} has no field {', '.join(values)}")
    if hasattr(kind, "__post_init__"):
        self.__post_init__()


def _default(declared: Any) -> Any:
    if not isinstance(declared, Field):
        return declared
    if declared.default_factory is not MISSING:
        return declared.default_factory()
    if declared.default is MISSING:
        raise TypeError("a field is missing")
    return declared.default


def _init(kind: Any) -> Callable[..., None]:
    """``__init__`` with the fields' names as keywords."""
    scope: dict[str, Any] = {"_missing": MISSING}
    given, lines = ["self", "*"] if kind._hints else ["self"], []
    for name in kind._hints:
        # A slot's own setter is faster than ``object.__setattr__``, which looks for the slot.
        scope[f"_set_{name}"] = vars(kind)[name].__set__
        value, default, factory = name, kind._defaults.get(name, MISSING), MISSING
        if isinstance(default, Field):
            default, factory = default.default, default.default_factory  # type: ignore[union-attr]
        if factory is not MISSING:
            scope[f"_make_{name}"] = factory
            given.append(f"{name}=_missing")
            value = f"_make_{name}() if {name} is _missing else {name}"
        elif default is not MISSING:
            scope[f"_default_{name}"] = default
            given.append(f"{name}=_default_{name}")
        else:
            given.append(name)
        lines.append(f" _set_{name}(self, {value})")
    if hasattr(kind, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec(f"def __init__({', '.join(given)}):\n" + ("\n".join(lines) or " pass"), scope)
    made: Callable[..., None] = scope["__init__"]
    return made


def _eq(self: Any, other: Any) -> bool:
    if other is self:
        return True
    if other.__class__ is not self.__class__:
        return NotImplemented  # type: ignore[no-any-return]
    return bool(self._compared(self) == self._compared(other))


def _hash(self: Any) -> int:
    # Caches look records of records up by the same parts, thousands of times per second.
    return self._known_hash  # type: ignore[no-any-return]


def _hash_of(self: Any) -> int:
    return hash(self._compared(self))


def _derive(self: Any, name: str) -> Any:
    """Fill the slot of a ``cached_property``: where it is empty, Python asks here."""
    if name not in self._derived:
        raise AttributeError(f"{type(self).__name__} has no attribute {name}")
    value = self._derived[name](self)
    object.__setattr__(self, name, value)
    return value


def _repr(self: Any) -> str:
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._hints)
    return f"{type(self).__qualname__}({values})"


def _refuse(self: object, name: str, *_: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


# Pickle fills slots by ``setattr``, which a frozen record refuses, so both ways are written here.
def _getstate(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self._hints]


def _setstate(self: Any, state: list[Any]) -> None:
    for name, value in zip(self._hints, state, strict=True):
        object.__setattr__(self, name, value)


SHARED = {
    "__eq__": _eq,
    "__hash__": _hash,
    "__getattr__": _derive,
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
}
"""Methods that are the same for every record, unless the record has its own."""
