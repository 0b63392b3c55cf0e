"""The rows of every folder given, as LLaMA-Factory's own data code makes them; prints JSON.

What ``llamafactory-cli train`` does from its configuration to the batches of its collator, without
a model and without a GPU.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import subprocess
import sys
import types
from pathlib import Path

os.environ |= {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "LLAMAFACTORY_VERBOSITY": "ERROR",
    "DISABLE_VERSION_CHECK": "1",
    "HF_HUB_OFFLINE": "1",
}
# Its readers of sound are imported with the others; no row here has sound.
SOUND = types.ModuleType("torchaudio")
SOUND.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
sys.modules.setdefault("torchaudio", SOUND)


def rows(folder: Path) -> dict[str, object]:
    """Ids and labels by split."""
    import yaml
    from llamafactory.data import (
        SFTDataCollatorWith4DAttentionMask,
        get_dataset,
        get_template_and_fix_tokenizer,
    )
    from llamafactory.hparams import parser
    from llamafactory.model import load_tokenizer

    parser.is_torch_bf16_gpu_available = lambda: True
    os.chdir(folder)
    said = yaml.safe_load(Path("train.yaml").read_text(encoding="utf-8"))
    prepare(folder)
    model, data, training, *_ = parser.get_train_args({**said, "use_cpu": True})
    model.cache_dir = str(folder / "cache")
    known = load_tokenizer(model)
    template = get_template_and_fix_tokenizer(known["tokenizer"], data)
    found = get_dataset(template, model, data, training, stage="sft", **known)
    collate = SFTDataCollatorWith4DAttentionMask(template=template, **known)
    parts = {"train": found.get("train_dataset"), "test": found.get("eval_dataset")}
    return {
        name: [collated(collate([dict(row)])) for row in part]
        for name, part in parts.items()
        if part is not None
    }


def prepare(folder: Path) -> None:
    """Run train.sh up to the start of training."""
    script = (folder / "train.sh").read_text(encoding="utf-8").split("exec llamafactory-cli")[0]
    if "save_to_disk" in script:
        found = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(
            ["bash", "-c", script, str(folder / "train.sh")],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PATH": found, "HF_DATASETS_CACHE": str(folder / "cache")},
        )


def collated(batch: dict) -> dict[str, list[int]]:
    """Ids and labels of a batch of one row, without padding."""
    count = int(batch["attention_mask"].sum())
    return {name: batch[name][0, :count].tolist() for name in ("input_ids", "labels")}


def answer(folder: Path) -> dict[str, object]:
    """The rows, or in which words they were refused."""
    try:
        return rows(folder)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error)[:300]}"}


if __name__ == "__main__":
    for word in sys.stdin.read().splitlines():
        sys.stdout.write(f"\nROWS {json.dumps([word, answer(Path(word).resolve())])}\n")
        sys.stdout.flush()
