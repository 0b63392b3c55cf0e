"""Documents without the folders of the machine that wrote them, so that they can be committed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
PACKAGES = re.compile(r"/[\w./+-]*/(?:site|dist)-packages/")
"""Where Python's packages lie, in tracebacks."""


def portable(document: Any) -> Any:
    """The same plain values; paths begin below the checkout or the folder of packages."""
    text = json.dumps(document, ensure_ascii=False).replace(f"{ROOT.as_posix()}/", "")
    return json.loads(PACKAGES.sub("", text))
