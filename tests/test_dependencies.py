"""Every package that is imported is one that pyproject.toml names."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "accelerate": "accelerate",
    "bitsandbytes": "bitsandbytes",
    "deepspeed": "deepspeed",
    "filelock": "filelock",
    "flash_attn": "flash-attn",
    "huggingface_hub": "huggingface-hub",
    "jinja2": "jinja2",
    "markupsafe": "markupsafe",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "optuna": "optuna",
    "peft": "peft",
    "psutil": "psutil",
    "pynvml": "nvidia-ml-py",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sqlalchemy": "sqlalchemy",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
    "anyio": "anyio",
    "mcp": "mcp",
    "mcp_types": "mcp",
    "yaml": "pyyaml",
}
"""Module -> the distribution that brings it."""
WITH_TORCH = frozenset({"triton"})
"""Comes with those builds of torch that have it, and is never required."""
PRIVATE_NAMES_OF = ("transformers", "peft", "accelerate", "optuna", "bitsandbytes", "deepspeed")


def imported() -> set[str]:
    """Top-level names of everything that the two packages import."""
    found: set[str] = set()
    for folder in ("tsplanner", "memory_models"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
    return found


def declared() -> dict[str, str]:
    """Distribution -> its range of versions, of all extras together."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        rows += extra
    found = [Requirement(row) for row in rows]
    return {each.name.lower(): str(each.specifier) for each in found}


def test_every_import_is_declared() -> None:
    """A package that only came along with another one may go with it."""
    ours = {"tsplanner", "memory_models"}
    foreign = imported() - set(sys.stdlib_module_names) - ours - WITH_TORCH
    assert sorted(foreign - set(MODULES)) == []
    assert sorted({MODULES[name] for name in foreign} - set(declared())) == []


def test_packages_whose_private_names_are_used_have_an_upper_bound() -> None:
    """A release that nobody has tried could take such a name away."""
    assert [name for name in PRIVATE_NAMES_OF if "<" not in declared()[name]] == []
