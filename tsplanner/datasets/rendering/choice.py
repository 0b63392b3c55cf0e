"""Which renderer a model has."""

from __future__ import annotations

from pathlib import Path

from tsplanner.datasets.records import LossOn
from tsplanner.datasets.rendering.pieces import Renderer


def renderer(
    tokenizer_folder: Path | None, *, has_encoder: bool, loss_on: LossOn = LossOn.ASSISTANT
) -> Renderer:
    """ChatTS's renderer if the model reads series, otherwise the tokenizer's own template.

    A tokenizer without a template gets plain headings. Without a tokenizer the texts get no
    template, and `Renderer.unknown_tokens` stands for it.

    Raises TsplannerError: a file of the folder is damaged, or its template is no valid one.
    """
    # jinja2 takes a tenth of a second, and only a plan with a dataset needs it.
    from tsplanner.datasets.rendering.fixed import BareRenderer, ChatTSRenderer, PlainRenderer
    from tsplanner.datasets.rendering.folder import (
        begin_token,
        end_token,
        special_tokens,
        template_texts,
    )
    from tsplanner.datasets.rendering.template import TemplateRenderer

    if has_encoder:
        return ChatTSRenderer(loss_on)
    if tokenizer_folder is None:
        return BareRenderer(loss_on)
    texts = template_texts(tokenizer_folder)
    if texts is None:
        found: TemplateRenderer = PlainRenderer(end_token(tokenizer_folder), loss_on)
    else:
        found = TemplateRenderer(texts, special_tokens(tokenizer_folder), loss_on)
    found.begin = begin_token(tokenizer_folder)
    return found


def template_beside(tokenizer_folder: Path, *, has_encoder: bool) -> str | None:
    """The chat template of rows that a tokenizer's folder does not have; None: it has one.

    It ends where the folder's own tokenizer ends an answer, and begins as the rows did. Also None
    for a folder without a tokenizer.json.
    """
    from tsplanner.datasets.rendering.fixed import CHATTS_TEMPLATE, PLAIN_TEMPLATE
    from tsplanner.datasets.rendering.folder import begin_token, template_texts

    no_tokenizer = not (tokenizer_folder / "tokenizer.json").is_file()
    if no_tokenizer or template_texts(tokenizer_folder) is not None:
        return None
    if has_encoder:
        return CHATTS_TEMPLATE
    begin = "{{- bos_token }}\n" if begin_token(tokenizer_folder) else ""
    return begin + PLAIN_TEMPLATE
