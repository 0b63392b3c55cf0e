"""Plan, probe, tune and launch fine-tuning on the machine you have.

    import tsplanner
    tsplanner.plan(model="qwen2.5-7b", gpus="RTX 4090", dataset="rows.jsonl")

Importing costs nothing: what a name needs is imported when the name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsplanner.api import Estimate, Export, Plan, Probe, estimate, load, plan
    from tsplanner.errors import NoPlanFits, TsplannerError, UsageError

__version__ = "0.2.0"
__all__ = [
    "Estimate",
    "Export",
    "NoPlanFits",
    "Plan",
    "Probe",
    "TsplannerError",
    "UsageError",
    "estimate",
    "load",
    "plan",
]


def __getattr__(name: str) -> Any:
    """A name of the API, imported on its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    errors = name.endswith("Error") or name == "NoPlanFits"
    found = getattr(import_module("tsplanner.errors" if errors else "tsplanner.api"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """What a completion offers."""
    return sorted([*__all__, "__version__"])
