"""The rows of every folder given, as TRL's own data code makes them; prints them as JSON.

What ``trl sft`` does from its configuration to the batches of its collator, without a step: the
model is drawn from the config.json beside the tokenizer.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def rows(folder: Path) -> dict[str, object]:
    """Ids and labels by split."""
    from datasets import load_dataset
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl import SFTTrainer
    from trl.scripts.sft import make_parser

    os.chdir(folder)
    script, training, model, *_ = make_parser(prog="trl sft").parse_args_and_config(
        ["--config", "trl.yaml", "--use_cpu", "true", "--bf16", "false", "--fp16", "false"],
        return_remaining_strings=True,
        separate_remaining_strings=True,
    )
    found = load_dataset(script.dataset_name, cache_dir=str(folder / "cache"))
    drawn = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model.model_name_or_path))
    tested = training.eval_strategy != "no"
    trainer = SFTTrainer(
        model=drawn,
        args=training,
        train_dataset=found[script.dataset_train_split],
        eval_dataset=found[script.dataset_test_split] if tested else None,
    )
    parts = {"train": trainer.train_dataset, "test": trainer.eval_dataset}
    return {
        name: [collated(trainer.data_collator([row])) for row in part]
        for name, part in parts.items()
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
        sys.stdout.write(f"ROWS {json.dumps([word, answer(Path(word).resolve())])}\n")
        sys.stdout.flush()
