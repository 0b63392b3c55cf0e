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
from tsplanner.datasets.rows.first_rows import RowsSeen
from tsplanner.errors import TsplannerError
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


def template_of(architecture: Architecture, asked: str | None) -> str:
    """The template that the user asked for, or the template of the model's family.

    Raises:
        TsplannerError: the table has no template for the family.
    """
    if asked is not None:
        return asked
    if architecture.encoder is not None:
        return "chatts"
    model_type = architecture.model_type
    for vocabulary in (architecture.vocabulary.vocab_size, None):
        found = TEMPLATES.get((model_type, vocabulary))
        if found is not None:
            return found
    raise TsplannerError(
        f"LLaMA-Factory's template for {architecture.name} ({model_type}, vocabulary of "
        f"{architecture.vocabulary.vocab_size}) is not known here: give --template NAME, or leave "
        "out the guessing with --template default."
    )


def dataset_info(plan: Plan, rows: RowsSeen, path: str, *, series: bool) -> str:
    """dataset_info.json: the path of the rows and the meaning of their columns.

    A column that no row has would stop the trainer, so the file names only columns that were found.
    """
    entry: dict[str, Any] = {"file_name": path}
    entry |= _DESCRIBED[rows.format](rows)
    if series and "timeseries" in rows.columns:
        entry["columns"]["timeseries"] = "timeseries"
    return json.dumps({dataset_name(plan): entry}, indent=2, ensure_ascii=False) + "\n"


def dataset_name(plan: Plan) -> str:
    """The dataset's name without commas, at which LLaMA-Factory splits a list of names."""
    return plan.dataset.name.replace(",", "_").strip() or "rows"


def _chatts(rows: RowsSeen) -> dict[str, Any]:
    return {"columns": {"prompt": "input", "response": "output"}}


def _alpaca(rows: RowsSeen) -> dict[str, Any]:
    columns = {"prompt": "instruction", "response": "output"}
    for column, name in (("query", "input"), ("system", "system")):
        if name in rows.columns:
            columns[column] = name
    return {"columns": columns}


def _sharegpt(rows: RowsSeen) -> dict[str, Any]:
    columns = {"messages": "conversations"}
    if "system" in rows.columns:
        columns["system"] = "system"
    return _dialogue(rows, columns, role="from", content="value")


def _messages(rows: RowsSeen) -> dict[str, Any]:
    return _dialogue(rows, {"messages": "messages"}, role="role", content="content")


def _dialogue(
    rows: RowsSeen, columns: dict[str, str], *, role: str, content: str
) -> dict[str, Any]:
    """The description of dialogues, in which each role has the name that the rows use.

    Raises TsplannerError: the rows use two names for one role, of which LLaMA-Factory takes one.
    """
    tags = {"role_tag": role, "content_tag": content}
    for tag, names in (
        ("user_tag", ("human", "user")),
        ("assistant_tag", ("gpt", "assistant")),
        ("observation_tag", ("observation", "tool")),
        ("system_tag", ("system",)),
    ):
        used = [name for name in names if name in rows.speakers]
        if len(used) > 1:
            raise TsplannerError(
                f"The dataset calls one role both {used[0]} and {used[1]}, and LLaMA-Factory takes "
                "one name a role: rename one of them and plan again."
            )
        tags[tag] = used[0] if used else names[0]
    return {"formatting": "sharegpt", "columns": columns, "tags": tags}


_DESCRIBED = {
    "chatts": _chatts,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "messages": _messages,
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
