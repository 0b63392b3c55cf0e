"""LLaMA-Factory's own parser on every folder given; prints what it made of each as JSON.

Runs in an environment that has LLaMA-Factory, without a GPU: only what asks for one is told so.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from pathlib import Path

os.environ |= {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "DS_ACCELERATOR": "cpu",
    "LLAMAFACTORY_VERBOSITY": "ERROR",
}


def parsed(folder: Path) -> dict[str, object]:
    """Arguments of one folder's train.yaml; its dataset_info.json and template are looked up."""
    import yaml
    from llamafactory.hparams import parser

    parser.is_torch_bf16_gpu_available = lambda: True
    os.chdir(folder)
    said = yaml.safe_load(Path("train.yaml").read_text(encoding="utf-8"))
    model, data, training, method, _ = parser.get_train_args({**said, "use_cpu": True})
    found: dict[str, object] = {}
    if Path("dataset_info.json").is_file():
        for part, names in (("rows", data.dataset), ("held_out", data.eval_dataset)):
            (rows,) = datasets().get_dataset_list(names, data.dataset_dir)
            found[part] = {name: getattr(rows, name, None) for name in COLUMNS}
    for record in (training, data, method, model):
        for name in said:
            if hasattr(record, name):
                found[name] = getattr(record, name)
    return found


COLUMNS = ("formatting", "prompt", "history", "response", "timeseries", "messages", "tools")


def datasets() -> types.ModuleType:
    """Its reader of dataset_info.json, without the package around it (audio libraries)."""
    import llamafactory

    if "llamafactory.data" not in sys.modules:
        package = types.ModuleType("llamafactory.data")
        package.__path__ = [str(Path(llamafactory.__file__).parent / "data")]
        sys.modules["llamafactory.data"] = package
    return importlib.import_module("llamafactory.data.parser")


def template_names() -> list[str]:
    """Templates it knows, by the text of its module: importing that takes every model's library."""
    import re

    import llamafactory

    text = (Path(llamafactory.__file__).parent / "data" / "template.py").read_text("utf-8")
    return sorted(set(re.findall(r'^    name="([^"]+)"', text, re.MULTILINE)))


if __name__ == "__main__":
    answers: dict[str, object] = {"templates": template_names()}
    for word in sys.argv[1:]:
        answers[Path(word).name] = parsed(Path(word).resolve())
    sys.stdout.write(f"ANSWER {json.dumps(answers, default=str)}\n")
