"""Tables of LLaMA-Factory: templates, dataset descriptions, versions.

Upstream is the package llamafactory 0.9.5. ChatTS models train only with the fork ChatTS-Training
(a LLaMA-Factory 0.9.4.dev0). Sources: data/template.py, data/parser.py, extras/misc.py and
requirements.txt of both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from memory_models.architecture import Architecture
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.rows.dialogues import LLAMAFACTORY_TAGS
from tsplanner.exporters.rows.form import TEST, TRAIN, RowsAs
from tsplanner.exporters.trainers import figures
from tsplanner.planner.plan import Plan
from tsplanner.planner.space.rules import BITSANDBYTES_OPTIMIZERS

FORK = "https://github.com/xiezhe-24/ChatTS-Training"
FORK_COMMIT = "8ef80ed"

TEMPLATES: Mapping[tuple[str, int | None], str] = {
    ("llama", 32_000): "llama2",
    ("llama", 128_256): "llama3",
    ("llama", 49_152): "smollm2",
    ("mistral", 32_000): "mistral",
    ("mistral", 32_768): "mistral",
    ("mistral", 131_072): "mistral_small",
    ("mixtral", None): "mistral",
    ("qwen2", None): "qwen",
    ("qwen3", None): "qwen3_nothink",
    ("qwen3_moe", None): "qwen3_nothink",
    ("gemma", None): "gemma",
    ("gemma2", None): "gemma2",
    ("gemma3_text", None): "gemma3",
    ("gemma3", None): "gemma3",
    ("llava", None): "llava",
    ("mistral3", None): "mistral_small",
    ("qwen2_vl", None): "qwen2_vl",
    ("qwen2_5_vl", None): "qwen2_vl",
    ("qwen3_vl", None): "qwen3_vl_nothink",
    ("phi3", 32_064): "phi",
    ("phi3", 100_352): "phi4",
    ("phi3", 200_064): "phi4_mini",
    ("opt", None): "default",
    ("gpt_neox", None): "default",
}
"""Model type and vocabulary size (None: any) -> template.

Base models have no chat template; ``default`` puts plain words in front of questions and answers.
"""

LIGER = frozenset(
    {"llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "phi3"}
    | {"gemma", "gemma2", "gemma3_text", "gemma3", "llava", "qwen2_vl", "qwen2_5_vl"}
)
"""Model types whose loss ``enable_liger_kernel`` fuses. Source: model_utils/liger_kernel.py."""

UPSTREAM_LIMITS = (
    "llamafactory 0.9.5: Python >=3.11, torch >=2.4, transformers >=4.55,<=5.6.0 (not 4.57.0), "
    "peft >=0.18,<=0.18.1, accelerate >=1.3,<=1.11, datasets >=2.16,<=4.0, trl >=0.18,<=0.24."
)
FORK_LIMITS = (
    f"ChatTS-Training at {FORK_COMMIT} (LLaMA-Factory 0.9.4.dev0): transformers >=4.49,<=4.52.4 "
    "(not 4.52.0), peft >=0.14,<=0.15.2, accelerate >=1.3,<=1.7, datasets >=2.16,<=3.6, "
    "trl >=0.8.6,<=0.9.6, numpy <2.",
    "deepspeed >=0.10,<=0.16.9 is checked whatever DISABLE_VERSION_CHECK says.",
)
FORK_TRANSFORMERS = {
    "chatts": "transformers>=4.49.0,<=4.52.4,!=4.52.0",
    "qwen3ts": "transformers>=4.52.1,<=4.52.4",
}
"""Model type -> versions of transformers. The code of the 8B needs 4.52: modeling_qwen3_ts.py
imports ``auto_docstring``."""
FORK_PACKAGES = (
    "torch>=2.4",
    "peft>=0.14.0,<=0.15.2",
    "accelerate>=1.3.0,<=1.7.0",
    "datasets>=2.16.0,<=3.6.0",
    "trl>=0.8.6,<=0.9.6",
    "tokenizers>=0.19.0,<=0.21.1",
    "numpy<2.0.0",
)


def template_of(architecture: Architecture, options: ExportOptions) -> str | None:
    """The template that the user asked for, or that of the model's family; None: not known.

    Without a template LLaMA-Factory parses the tokenizer's own. Rows of token ids are rendered
    already, and its template ``empty`` leaves the tokenizer alone.
    """
    if options.template is not None:
        return options.template
    if architecture.encoder is not None:
        return "chatts"
    if options.rows is RowsAs.TOKENS:
        return "empty"
    sizes = (architecture.vocabulary.vocab_size, None)
    names = (TEMPLATES.get((architecture.model_type, size)) for size in sizes)
    return next((name for name in names if name is not None), None)


def dataset_info(plan: Plan, *, series: bool) -> str:
    """dataset_info.json: the files of the rows and the meaning of their columns."""
    described = _SERIES if series else _DIALOGUES
    held_out = figures.held_out_rows(plan) > 0
    files = [(dataset_name(plan), TRAIN), *([(test_name(plan), TEST)] if held_out else [])]
    found = {name: {"file_name": file, **described} for name, file in files}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def dataset_name(plan: Plan) -> str:
    """The dataset's name without commas, at which LLaMA-Factory splits a list of names."""
    return plan.dataset.name.replace(",", "_").strip() or "rows"


def test_name(plan: Plan) -> str:
    """Name of the held-out rows."""
    return f"{dataset_name(plan)}_test"


_DIALOGUES: dict[str, Any] = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "tools": "tools"},
    "tags": dict(LLAMAFACTORY_TAGS),
}
_SERIES: dict[str, Any] = {
    "columns": {
        "prompt": "input",
        "response": "output",
        "system": "system",
        "history": "history",
        "timeseries": "timeseries",
    }
}


def requirements(plan: Plan, architecture: Architecture, *, liger: bool) -> str:
    """The requirements.txt of an environment that can run the export."""
    hardware = plan.hardware
    fork = architecture.encoder is not None
    lines = ["llamafactory==0.9.5"]
    if fork:
        lines = [
            f"# First: git clone {FORK}, git checkout {FORK_COMMIT}, pip install -e . in it.",
            FORK_TRANSFORMERS[architecture.model_type],
            *FORK_PACKAGES,
        ]
    if hardware.sharding.zero_stage:
        lines.append("deepspeed>=0.10.0,<=0.16.9" if fork else "deepspeed")
    if (
        hardware.base.quantization is not None
        or hardware.kernels.optimizer in BITSANDBYTES_OPTIMIZERS
    ):
        lines.append("bitsandbytes>=0.43.0")
    if hardware.kernels.attention == "flash_attention_2":
        lines.append("flash-attn")
    if liger:
        lines.append("liger-kernel")
    return "".join(f"{line}\n" for line in lines)
