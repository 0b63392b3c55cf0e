"""The tokenizer of a plan's model, with its padding token and its chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import ModelRef
from tsplanner.reading import decoded, read_text


def load_tokenizer(model: ModelRef) -> Any | None:
    """The model's tokenizer with a padding token; None if the plan names no folder."""
    folder = model.tokenizer or model.path
    if folder is None:
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError) as error:
        raise TsplannerError(
            f"No tokenizer could be read from {folder}: put tokenizer.json there, "
            "or name its folder with --tokenizer."
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = processors_template(Path(folder))
    return tokenizer


def processors_template(folder: Path) -> str | None:
    """The chat template of a model that also sees, which only its processor reads; None: none."""
    path = folder / "chat_template.json"
    if not path.is_file():
        return None
    found = decoded(read_text(path))
    return found.get("chat_template") if isinstance(found, dict) else None
