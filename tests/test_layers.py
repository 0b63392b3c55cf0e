"""The layers of the house."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PURE = sorted((ROOT / "memory_models").glob("**/*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of everything a module imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add((node.module or "").partition(".")[0])
    return names


WORD_TABLE = ROOT / "tsplanner" / "datasets" / "tokens" / "words.py"


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_the_pure_core_imports_the_standard_library_alone(path: Path) -> None:
    """Bytes are computed without any third party, input, output, clock or chance."""
    names = imported(path) - {"memory_models"}
    assert names <= set(sys.stdlib_module_names)
    assert not names & {"os", "io", "sys", "logging", "time", "random", "pathlib", "subprocess"}


@pytest.mark.parametrize("package", ["planner", "throughput", "hardware", "models", "datasets"])
def test_what_plan_reaches_imports_no_training_library_at_its_top(package: str) -> None:
    """Start-up time counts: heavy libraries are looked for, or imported where they are used.

    The table of words is itself imported where a dataset is tokenised, and nowhere else.
    """
    for path in set((ROOT / "tsplanner" / package).rglob("*.py")) - {WORD_TABLE}:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                text = ast.unparse(node).split()[1].partition(".")[0]
                assert text not in {"torch", "transformers", "peft", "optuna", "numpy", "rich"}


def test_the_table_of_words_is_imported_inside_functions_alone() -> None:
    """A process that tokenises nothing pays nothing for numpy."""
    for path in (ROOT / "tsplanner").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                assert node.module != "tsplanner.datasets.tokens.words", path


def test_the_import_contracts_hold() -> None:
    """Lower layers know nothing of higher ones (pyproject.toml, import-linter)."""
    beside = Path(sys.executable).with_name("lint-imports")
    linter = str(beside) if beside.exists() else shutil.which("lint-imports")
    assert linter is not None, "import-linter is one of the development tools: bootstrap.py setup"
    done = subprocess.run(
        [linter, "--no-cache"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
