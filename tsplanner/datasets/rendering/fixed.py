"""Renderers for models without a template of their own: ChatTS's, plain headings, bare texts.

Source of the ChatTS template: the chat template published with ChatTS (August 2025 and later).
"""

from __future__ import annotations

from dataclasses import replace

from tsplanner.datasets.records import Conversation, LossOn
from tsplanner.datasets.rendering.pieces import Piece, Rendered, Renderer, is_learned
from tsplanner.datasets.rendering.template import TemplateRenderer
from tsplanner.datasets.rows.checks import PLACEHOLDER
from tsplanner.datasets.series_encoding import series_prefix

CHAT_TEMPLATE_TOKENS = 45
"""Tokens that a chat template adds to one question and its answer.

Source: the templates of Qwen, Llama 3, Gemma and Mistral, which add 8 to 45 tokens. Ignores: a
longer built-in system text.
"""
PLAIN_TEMPLATE = """\
{%- set names = {'user': 'Question', 'assistant': 'Answer', 'tool': 'Tool'} %}
{%- for message in messages %}
    {{- '\\n\\n' if not loop.first else '' }}
    {{- '### ' + names[message.role] + ':\\n' if message.role in names else '' }}
    {{- message.content }}
    {{- eos_token if message.role == 'assistant' else '' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '\\n\\n### Answer:\\n' }}
{%- endif %}
"""
"""Headings for base models, which have no template; an answer ends with the end token."""
CHATTS_TEMPLATE = """\
{%- if messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""ChatML with ChatTS's system text."""


class PlainRenderer(TemplateRenderer):
    """Plain headings, for base models without a template."""

    def __init__(self, eos: str, loss_on: LossOn = LossOn.ASSISTANT) -> None:
        """``eos``: the text of the token that ends an answer."""
        super().__init__(PLAIN_TEMPLATE, {"eos_token": eos}, loss_on)
        self.notes = (
            "The model has no chat template: rows get the headings ### Question and ### Answer.",
            *self.notes,
        )

    def rendered(self, conversation: Conversation) -> Rendered:
        """The row with its headings, behind the begin token; a plain text has that already."""
        found = super().rendered(conversation)
        return found if conversation.text is not None else self.begun(found)


class ChatTSRenderer(TemplateRenderer):
    """ChatML with ChatTS's system text, and the figures of a series before each of its marks."""

    def __init__(self, loss_on: LossOn = LossOn.ASSISTANT) -> None:
        super().__init__(CHATTS_TEMPLATE, {"eos_token": "<|im_end|>"}, loss_on)

    def rendered(self, conversation: Conversation) -> Rendered:
        """The row by the template; raises RowError as it does."""
        return super().rendered(with_figures(conversation))


class BareRenderer(Renderer):
    """The texts of the turns alone, to estimate lengths where the model's template is not known."""

    unknown_tokens = CHAT_TEMPLATE_TOKENS

    def rendered(self, conversation: Conversation) -> Rendered:
        """A piece per turn, and one for what a template writes besides: thoughts, calls, tools."""
        if conversation.text is not None:
            return Rendered(pieces=(Piece(text=conversation.text, learned=True),))
        turns = conversation.turns
        found = [Piece(text=conversation.tools)]
        for place, turn in enumerate(turns):
            learned = is_learned(turns, place, self.loss_on)
            more = turn.thoughts + "".join(call.name + call.arguments for call in turn.tool_calls)
            found.append(Piece(text=more, learned=learned))
            found.append(Piece(text=turn.content, learned=learned, turn=place))
        return Rendered(pieces=tuple(piece for piece in found if piece.text))


def with_figures(conversation: Conversation) -> Conversation:
    """The conversation with the figures of each series before its mark."""
    if not conversation.timeseries:
        return conversation
    series = iter(conversation.timeseries)
    turns = []
    for turn in conversation.turns:
        first, *rest = turn.content.split(PLACEHOLDER)
        # The checks of a row have dropped every row with another number of marks than series.
        text = first + "".join(series_prefix(next(series)) + PLACEHOLDER + each for each in rest)
        turns.append(replace(turn, content=text))
    return replace(conversation, turns=tuple(turns))
