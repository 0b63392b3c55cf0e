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
