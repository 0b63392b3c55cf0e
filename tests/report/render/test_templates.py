"""The page's templates."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import get_args

from tsplanner.report.page import Block
from tsplanner.report.render.memory_bars import ALLOCATED, CACHED, OTHER, OUTSIDE, PARTS
from tsplanner.report.render.templates import FOLDER, environment, style_sheet

ROOT = Path(__file__).resolve().parents[3]


def test_every_block_has_a_macro_of_its_name() -> None:
    """A new class of block needs a macro, or the page cannot draw it."""
    module = (
        environment()
        .get_template("blocks.html.jinja")
        .make_module(
            {
                name: None
                for name in ("is_foreign", "translate", "words", "chart", "hatched", "drawn_limit")
            }
        )
    )
    for block in get_args(Block):
        assert callable(getattr(module, block.__name__.lower()))


def test_the_style_sheet_has_a_fill_for_every_color() -> None:
    """Parts of a bar name their color by its number; both schemes know that number."""
    colors = {color for _, color in PARTS.values()} | {ALLOCATED, CACHED, OUTSIDE, OTHER}
    sheet = style_sheet()
    for color in colors:
        assert f".c{color}{{fill:var(--c{color})}}" in sheet
        assert sheet.count(f"--c{color}:") == 2
        assert style_sheet(dark=False).count(f"--c{color}:") == 1


def test_only_the_report_and_chat_templates_import_jinja() -> None:
    """Nothing else needs templates."""
    users = {FOLDER.parent, ROOT / "tsplanner" / "datasets" / "rendering"}
    for path in [*(ROOT / "tsplanner").rglob("*.py"), *(ROOT / "memory_models").rglob("*.py")]:
        if users & set(path.parents):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {"jinja2", "markupsafe"} & {name.partition(".")[0] for name in names}, path


def test_plan_and_estimate_start_without_jinja() -> None:
    """Their views take figures from the report's package, and that is all."""
    code = "import sys, tsplanner.cli, tsplanner.commands.plan, tsplanner.commands.estimate; "
    code += "sys.exit('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, timeout=60)
    assert done.returncode == 0
