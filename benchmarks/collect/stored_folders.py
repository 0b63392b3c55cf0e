"""Plan and probe folders whose weights are stored quantised, on the GPU of this machine.

``PYTHONPATH=. OUT=out python benchmarks/collect/stored_folders.py`` writes OUT/stored_folders.json:
each folder's predicted and measured bytes. The models have random weights and about 0.5B parameters.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.support import stored_folders

SHAPE = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
NF4_DQ = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
}
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "nf4-dq": partial(stored_folders.bitsandbytes_folder, **NF4_DQ),
    "int8": partial(stored_folders.bitsandbytes_folder, load_in_8bit=True),
    "fp8": stored_folders.fp8_folder,
}


def verb(folder: Path, *words: str) -> dict[str, object]:
    """The JSON document of a verb; its error where it has none."""
    line = [sys.executable, "-m", "tsplanner", *words, "--json"]
    known = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{known}"}
    done = subprocess.run(
        line, check=False, cwd=folder, env=environment, capture_output=True, text=True
    )
    try:
        found: dict[str, object] = json.loads(done.stdout)
    except ValueError:
        return {"error": done.stderr[-2000:]}
    return found


def main() -> None:
    """Make, plan and probe every folder, and write what was found."""
    stored_folders.QWEN.update(SHAPE)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for stored, make in FOLDERS.items():
            folder = Path(name) / stored
            make(folder)
            plan = ("--model", str(folder), "--cutoff-len", "1024", "--micro-batch-size", "4")
            found[stored] = {
                "plan": verb(Path(name), "plan", *plan, "--saves", f"saves-{stored}"),
                "probe": verb(Path(name), "probe", "--saves", f"saves-{stored}"),
            }
    text = json.dumps(found, indent=1)
    (Path(os.environ.get("OUT", ".")) / "stored_folders.json").write_text(text)


if __name__ == "__main__":
    main()
