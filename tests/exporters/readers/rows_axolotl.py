"""The rows of every folder given, as axolotl's own data code makes them; prints them as JSON.

What ``axolotl train`` does from its configuration to its prepared dataset, without a model; the
schema is told of a GPU.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "AXOLOTL_DATASET_NUM_PROC": "1",
    "AXOLOTL_DO_NOT_TRACK": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def rows(folder: Path) -> dict[str, object]:
    """Ids and labels by split."""
    import yaml
    from axolotl.loaders import load_tokenizer
    from axolotl.utils.config import normalize_config
    from axolotl.utils.data.sft import prepare_datasets
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlConfigWCapabilities
    from transformers import DataCollatorForSeq2Seq

    os.chdir(folder)
    said = yaml.safe_load(Path("axolotl.yaml").read_text(encoding="utf-8"))
    gpu = {"bf16": True, "fp8": True, "tf32": True, "n_gpu": 1, "n_node": 1}
    read = AxolotlConfigWCapabilities(
        **said,
        capabilities={**gpu, "compute_capability": "sm_90"},
        env_capabilities={"torch_version": "2.13.0"},
    )
    cfg = DictDefault(read.model_dump(exclude_none=True))
    normalize_config(cfg)
    tokenizer = load_tokenizer(cfg)
    train, test, _, _ = prepare_datasets(cfg, tokenizer)
    collate = DataCollatorForSeq2Seq(tokenizer)
    names = ("input_ids", "attention_mask", "labels")
    return {
        name: [collated(collate([{key: row[key] for key in names}])) for row in part]
        for name, part in {"train": train, "test": test}.items()
        if part is not None
    }


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
