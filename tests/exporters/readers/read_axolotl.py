"""The schema of axolotl on every folder given; prints what it made of each as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def parsed(folder: Path) -> dict[str, object]:
    """The validated configuration, as on a GPU of compute capability 9.0."""
    import yaml
    from axolotl.utils.schemas.config import AxolotlConfigWCapabilities

    os.chdir(folder)
    said = yaml.safe_load(Path("axolotl.yaml").read_text(encoding="utf-8"))
    gpu = {"bf16": True, "fp8": True, "tf32": True, "n_gpu": 1, "n_node": 1}
    read = AxolotlConfigWCapabilities(
        **said,
        capabilities={**gpu, "compute_capability": "sm_90"},
        env_capabilities={"torch_version": "2.13.0"},
    )
    unknown = sorted(set(said) - set(AxolotlConfigWCapabilities.model_fields))
    found = read.model_dump(mode="json")
    return {"unknown": unknown} | {name: found.get(name) for name in said}


if __name__ == "__main__":
    answers = {Path(word).name: parsed(Path(word).resolve()) for word in sys.argv[1:]}
    sys.stdout.write(f"ANSWER {json.dumps(answers, default=str)}\n")
