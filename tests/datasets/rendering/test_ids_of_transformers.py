"""A row's ids and labels are those that transformers' own `apply_chat_template` gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from tests.support.shipped_templates import shipped_templates
from tests.support.templates import MARKED, QWEN3, ROWS, SPECIAL, TEMPLATES
from tests.support.tokenizer_files import byte_level, metaspace, saved
from tests.support.transformers_templates import pinned_day
from tsplanner.datasets.records import Conversation
from tsplanner.datasets.rendering.choice import renderer
from tsplanner.datasets.rendering.known import KnownTemplate
from tsplanner.datasets.rendering.messages import Style, messages_of
from tsplanner.datasets.rendering.pieces import Renderer
from tsplanner.datasets.rows.fields import RowError
from tsplanner.datasets.tokens.tokenizer import Tokenizer, tokenizer_of

MARKED_TOO = QWEN3.replace(
    "{{- '<|im_start|>assistant\\n' }}\n        {%- if loop",
    "{{- '<|im_start|>assistant\\n' }}{% generation %}\n        {%- if loop",
).replace(
    "{{- '<|im_end|>\\n' }}\n    {%- elif m.role == 'tool'",
    "{{- '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}\n    {%- elif m.role == 'tool'",
)
TOKENIZERS = {
    "byte-level": byte_level,
    "metaspace": metaspace,
    "normalised": lambda: metaspace(normalised=True),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer and its special tokens."""
    made = TOKENIZERS[request.param]()
    made.add_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL.values()])
    found = saved(made, tmp_path_factory.mktemp(request.param))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}
    (found / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return found


Ids = tuple[list[int], list[int]]
"""Token ids, and for each whether it carries loss."""


def by_transformers(tokenizer: Any, style: Style, row: Conversation) -> Ids | None:
    """Ids and the mask of the assistant's tokens; None: the template refuses the row."""
    try:
        found = tokenizer.apply_chat_template(
            messages_of(row.turns, style),
            tools=json.loads(row.tools) if row.tools else None,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
    except Exception:  # templates fail in any way
        return None
    return list(found["input_ids"]), list(found["assistant_masks"])


def by_us(renderer: Renderer, tokenizer: Tokenizer, row: Conversation) -> Ids | None:
    """Ids and mask as a training run has them."""
    try:
        pieces = renderer.pieces(row)
    except RowError:
        return None
    (found,) = tokenizer.rows([pieces])
    mask = [0] * len(found.ids)
    for start, end in found.learned:
        mask[start:end] = [1] * (end - start)
    return list(found.ids), mask


def differences(folder: Path, templates: dict[str, str]) -> tuple[list[str], int]:
    """Rows whose ids or mask differ, and how many were compared.

    Masks are compared where the template marks what is generated.
    """
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = tokenizer_of(folder, by_words=False)
    found, compared = [], 0
    for name, template in templates.items():
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        rendering = renderer(folder, has_encoder=False)
        theirs.chat_template, style = template, KnownTemplate(template, SPECIAL).style
        for form, row in ROWS.items():
            pair = by_us(rendering, ours, row), by_transformers(theirs, style, row)
            if "generation %}" not in template:
                pair = tuple(each and (each[0], []) for each in pair)  # type: ignore[assignment]
            compared += pair[0] is not None
            if pair[0] != pair[1]:
                found.append(f"{name}, {form}: {pair[0]} and not {pair[1]}")
    return found, compared


def test_ids_and_masks_are_equal_for_every_template(folder: Path) -> None:
    """Twelve templates and two marked ones by fifteen rows, on tokenizers of three kinds."""
    with pinned_day():
        templates = {**TEMPLATES, "marked": MARKED, "marked too": MARKED_TOO}
        found, compared = differences(folder, templates)
    assert found == []
    assert compared > 150


@pytest.mark.slow
def test_ids_and_masks_are_equal_for_every_shipped_template(folder: Path) -> None:
    """Those of TRL and axolotl, of which 33 are marked."""
    with pinned_day():
        found, compared = differences(folder, shipped_templates())
    assert found == []
    assert compared > 1000
