"""How easily a stranger finds their way: the house's own measures, each with its bar.

    python benchmarks/house/bars.py             the table; status 1 if a bar is missed
    python benchmarks/house/bars.py --list      also the modules, records and lines behind it

Files side by side in one folder, fields of the widest record, parameters of functions, decisions
that read the text of a message, modules without a test file of their own name, words of the README.
Records of ``tsplanner/report`` do not count: a page has as many facts as it shows. The words by
which other libraries' untyped errors are known stand in one module on purpose, and do not count:
``tsplanner/training/worker/untyped_errors.py``.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("memory_models", "tsplanner")
MOST_FILES = 14
MOST_FIELDS = 12
MOST_PARAMETERS = 7
MOST_README_LINES, MOST_README_WORDS = 120, 1200
READS_A_MESSAGE = re.compile(
    r"""\bin\ \w*\.?(?:message|sentence|reason|detail)\b
    | (?:message|sentence|reason|detail)\.(?:startswith|endswith|find|index|replace|partition)\(
    | \bin\ str\((?:error|exception)\)""",
    re.VERBOSE,
)
"""A line that decides by words: ``"killed" in record.message`` and its relatives."""
LOOPS = re.compile(r"\bfor\b.*\bin\b")


@dataclass(frozen=True)
class Measure:
    """One line of the table."""

    name: str
    value: int
    bar: int
    found: tuple[str, ...] = ()
    """What stands behind the value."""

    @property
    def met(self) -> bool:
        """Whether the value is within its bar."""
        return self.value <= self.bar


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of both packages with its syntax tree."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    """A path as it is printed."""
    return str(path.relative_to(ROOT))


def widest_folder() -> Measure:
    """Files side by side in one folder, ``__init__`` apart."""
    counts: dict[str, int] = {}
    for path, _ in modules():
        if path.name != "__init__.py":
            counts[name(path.parent)] = counts.get(name(path.parent), 0) + 1
    found = tuple(f"{count} {folder}" for folder, count in counts.items() if count > MOST_FILES)
    return Measure("files side by side in one folder", max(counts.values()), MOST_FILES, found)


def is_record(node: ast.ClassDef) -> bool:
    """Whether a class is a dataclass, a record or a NamedTuple."""
    marks = [ast.unparse(each) for each in (*node.decorator_list, *node.bases)]
    return any(re.search(r"\bdataclass|\bfrozen\b|NamedTuple", mark) for mark in marks)


def widest_record() -> Measure:
    """Fields of the widest record outside the report."""
    found = [
        (sum(isinstance(item, ast.AnnAssign) for item in node.body), f"{name(path)}:{node.name}")
        for path, tree in modules()
        if "report" not in path.parts
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and is_record(node)
    ]
    wide = tuple(f"{fields} {where}" for fields, where in sorted(found) if fields > MOST_FIELDS)
    return Measure("fields of the widest record", max(found)[0], MOST_FIELDS, wide)


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters of a function; a method's own object does not count."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([each for each in given if each.arg not in ("self", "cls")])


def is_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether Triton compiles a function: a kernel takes pointers, strides and sizes one by one."""
    return any("triton.jit" in ast.unparse(each) for each in node.decorator_list)


def long_signatures() -> Measure:
    """Functions with more parameters than a reader keeps in mind."""
    found = tuple(
        f"{parameters(node)} {name(path)}:{node.name}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and parameters(node) > MOST_PARAMETERS
        and not is_kernel(node)
    )
    return Measure(f"functions with more than {MOST_PARAMETERS} parameters", len(found), 0, found)


def lines_that_read_messages() -> Measure:
    """Lines of code that branch on the text of a message."""
    found = tuple(
        f"{name(path)}:{number} {line.strip()}"
        for path, _ in modules()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if READS_A_MESSAGE.search(line) and not LOOPS.search(line)
    )
    return Measure("lines that branch on the text of a message", len(found), 0, found)


def has_public_function(tree: ast.Module) -> bool:
    """Whether a module defines a public function, or a public class with a public method."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            return True
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            if any(not method.name.startswith("_") for method in methods):
                return True
    return False


def test_of(path: Path) -> Path:
    """Where the test of a module stands: its own path under ``tests``."""
    inside = path.relative_to(ROOT)
    parts = inside.parts[1:] if inside.parts[0] == "tsplanner" else inside.parts
    return ROOT.joinpath("tests", *parts[:-1], f"test_{inside.name}")


def untested_modules() -> Measure:
    """Modules with a public function whose test is not found by its name."""
    found = tuple(
        name(path)
        for path, tree in modules()
        if path.name not in ("__init__.py", "__main__.py")
        and has_public_function(tree)
        and not test_of(path).is_file()
    )
    return Measure("modules without a test file of their own name", len(found), 0, found)


def front_door() -> list[Measure]:
    """Length of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [
        Measure("lines of the README", len(text.splitlines()), MOST_README_LINES),
        Measure("words of the README", len(text.split()), MOST_README_WORDS),
    ]


def measures() -> list[Measure]:
    """Every measure of the table."""
    return [
        widest_folder(),
        widest_record(),
        long_signatures(),
        lines_that_read_messages(),
        untested_modules(),
        *front_door(),
    ]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="what stands behind each value")
    options, missed = parser.parse_args(), 0
    for measure in measures():
        missed += not measure.met
        state = "met" if measure.met else "MISSED"
        print(f"{measure.name:<46} {measure.value:>5}   bar {measure.bar:>5}   {state}")
        for line in measure.found if options.list else ():
            print(f"    {line}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
