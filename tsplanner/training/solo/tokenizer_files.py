"""The tokenizer beside trained weights, with the chat template that the rows were written in.

The files are copies of the base's own: a tokenizer that is loaded and saved again is not always the
same one (findings/qwen2_folder_loses_its_pre_tokenizer.sh).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tsplanner.datasets.rendering.choice import template_beside
from tsplanner.planner.plan import Plan

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
TEMPLATES = "additional_chat_templates"
OWN_TEMPLATE = "chat_template.jinja"


def copy_tokenizer(plan: Plan, folder: Path) -> None:
    """Copy the tokenizer of a plan beside weights in ``folder``; nothing where it names none.

    A base without a chat template gets the one that its rows were written in.
    Raises OSError: the disk is full.
    """
    named = plan.model.tokenizer or plan.model.path
    if named is None or not (source := Path(named)).is_dir():
        return
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if (source / TEMPLATES).is_dir():
        shutil.copytree(source / TEMPLATES, folder / TEMPLATES, dirs_exist_ok=True)
    text = template_beside(source, has_encoder=plan.architecture.encoder is not None)
    if text is not None:
        (folder / OWN_TEMPLATE).write_text(text, encoding="utf-8")
