"""Runs the cells of docs/python-api.ipynb and writes their outputs beside them.

python -m tests.support.notebook
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "python-api.ipynb"


def run(document: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs that its cells have now, run in order in an empty folder."""
    space: dict[str, Any] = {}
    cells, number = [], 0
    for cell in document["cells"]:
        if cell["cell_type"] != "code":
            cells.append(cell)
            continue
        number += 1
        outputs = _outputs("".join(cell["source"]), space, number)
        cells.append({**cell, "execution_count": number, "outputs": outputs})
    return {**document, "cells": cells}


def _outputs(source: str, space: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What a cell prints, and the value of its last expression as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), space)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), space)
    found: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        found.append({"name": "stdout", "output_type": "stream", "text": text})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(keepends=True)
        shown = {"data": data, "execution_count": number, "metadata": {}}
        found.append({**shown, "output_type": "execute_result"})
    return found


def read() -> dict[str, Any]:
    """The notebook as it is committed."""
    found: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Write the notebook with its outputs of today."""
    document = read()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        done = run(document)
    NOTEBOOK.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
