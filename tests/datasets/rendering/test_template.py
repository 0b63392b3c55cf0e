"""Rows as a model's own template writes them, and where their loss lies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.rows import conversation
from tests.support.shipped_templates import shipped_templates
from tests.support.templates import CHATML, ROWS, SPECIAL, TEMPLATES, chat, turn
from tsplanner.datasets.records import Conversation, LossOn, Role, ToolCall, Turn
from tsplanner.datasets.rendering.fixed import ChatTSRenderer
from tsplanner.datasets.rendering.folder import TemplateTexts
from tsplanner.datasets.rendering.pieces import Piece, Unwritten, joined
from tsplanner.datasets.rendering.template import TemplateRenderer
from tsplanner.datasets.rows.fields import RowError


def learned(name: str, form: str | Conversation, loss_on: LossOn = LossOn.ASSISTANT) -> list[str]:
    """The stretches of a row that carry loss; ``form`` names a row, or is one."""
    row = ROWS[form] if isinstance(form, str) else form
    found, before = [], False
    for piece in TemplateRenderer(TEMPLATES[name], SPECIAL, loss_on).pieces(row):
        if piece.learned and before:
            found[-1] += piece.text
        elif piece.learned:
            found.append(piece.text)
        before = piece.learned
    return found


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("chatml", ["It is on.<|im_end|>", "Off.<|im_end|>"]),
        ("llama", ["It is on.<|eot|>", "Off.<|eot|>"]),
        ("mistral", [" It is on.</s>", " Off.</s>"]),
        ("phi", ["It is on.<|end|>", "Off.<|end|>"]),
        ("vision", [" It is on.<end>", " Off.<end>"]),
        ("counted", ["It is on.[|end|]", "Off.[|end|]"]),
        # The mark that ends an answer is written where the next turn begins.
        ("bracketed", [" It is on.<|eom|>", " Off.<|eom|>"]),
        # The prompt opens thoughts, and a finished answer has none of them.
        ("deepseek", ["It is on.</s>", "Off.</s>"]),
        # Only the last answer gets the empty thoughts, which the prompt does not write.
        ("qwen3", ["It is on.<|im_end|>", "<think>\n\n</think>\n\nOff.<|im_end|>"]),
        # An answer ends in another way if another turn follows.
        (
            "channels",
            [
                "<|channel|>final<|message|>It is on.<|end|>",
                "<|channel|>final<|message|>Off.<|return|>",
            ],
        ),
        # The template's own marks hold the line end.
        ("marked", ["It is on.<|im_end|>\n", "Off.<|im_end|>\n"]),
    ],
)
def test_every_answer_and_its_end_carry_loss_once(name: str, ends: list[str]) -> None:
    """From the end of the prompt to the end of the turn; the question carries none."""
    assert learned(name, "system and two") == ends


def test_thoughts_carry_loss_where_the_template_keeps_them() -> None:
    """Qwen3 and gpt-oss drop the thoughts of earlier turns, and that is said."""
    kept = "<think>\nHm two\n</think>\n\nOn<|im_end|>"
    assert learned("qwen3", "thoughts") == ["On.<|im_end|>", kept]
    assert learned("channels", "thoughts")[1].startswith("<|channel|>analysis<|message|>Hm two")
    for name in ("qwen3", "channels", "chatml"):
        renderer = TemplateRenderer(TEMPLATES[name], SPECIAL)
        assert renderer.rendered(ROWS["thoughts"]).unwritten == (Unwritten.THOUGHTS,)


def test_calls_of_tools_are_learned_as_the_assistants_own() -> None:
    """What the tool answers is not."""
    calls = '<tool_call>\n{"name": "valve", "arguments": {"id": 7, "why": "flow"}}\n</tool_call>'
    last = "<think>\n\n</think>\n\nIt is on.<|im_end|>"
    assert learned("qwen3", "call") == [calls + "<|im_end|>", last]
    # This template takes the arguments as text, and closes the tool's answer in the prompt.
    call = '<|call|>valve\n{"id": 7, "why": "flow"}<|/call|></s>'
    assert learned("deepseek", "call") == [call, "It is on.</s>"]


def test_what_a_template_does_not_write_is_named() -> None:
    """ChatML knows no calls; Mistral's writes a system text only before a last question."""
    chatml = TemplateRenderer(CHATML, SPECIAL)
    found = chatml.rendered(ROWS["call"]).unwritten
    assert set(found) == {Unwritten.CALLS, Unwritten.TOOLS}
    assert chatml.rendered(ROWS["system"]).unwritten == ()
    kimi = "{% for m in messages if m.role != 'system' %}{{ m.content }}|{% endfor %}"
    assert TemplateRenderer(kimi, {}).rendered(ROWS["system"]).unwritten == (Unwritten.SYSTEM,)


def test_a_tools_answer_inside_the_assistants_turn_is_not_learned() -> None:
    """Gemma 4 writes what a tool said into the turn that called it."""
    source = (
        "{% for m in messages %}{% if m.role != 'tool' %}<turn>{{ m.role }}\n{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}</call>{% endfor %}"
        "{% if not loop.last and messages[loop.index0 + 1].role == 'tool' %}"
        "<told>{{ messages[loop.index0 + 1].content }}</told>{% endif %}</turn>\n{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
    )
    pieces = TemplateRenderer(source, {}).pieces(ROWS["call"])
    assert [piece.text for piece in pieces if piece.learned] == [
        "<call>valve</call>",
        "</turn>",
        "It is on.</turn>",
    ]


def test_loss_on_the_last_answer_or_on_everything() -> None:
    """The setting decides where the row does not."""
    assert learned("chatml", "system and two", LossOn.LAST) == ["Off.<|im_end|>"]
    whole = joined(TemplateRenderer(CHATML, {}).pieces(ROWS["system and two"]))
    assert learned("chatml", "system and two", LossOn.ALL) == [whole]
    assert learned("marked", "three exchanges", LossOn.LAST) == ["It is on.<|im_end|>\n"]


def test_a_row_decides_for_its_own_turns() -> None:
    """A weight of 0 takes an answer out, a weight of 1 puts a question in."""
    asked, first, more, last = ROWS["system and two"].turns[1:]
    row = chat(replace(asked, learned=True), replace(first, learned=False), more, last)
    assert learned("chatml", row) == ["Is pump 3 on?", "Off.<|im_end|>"]
    everything = learned("chatml", row, LossOn.ALL)
    assert not any("It is on." in text for text in everything)
    assert "And 4?" in "".join(everything)


def test_an_answer_outside_of_every_loop_is_found_by_what_replaces_it() -> None:
    """Its text stands in the question and in the template too, and neither is taken for it."""
    source = (
        "<user>{{ messages[0].content }}<assistant>{{ messages[1].content }}<end>"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    renderer = TemplateRenderer(source, {})
    pieces = renderer.pieces(conversation("assistant: a", "a"))
    assert [piece.text for piece in pieces if piece.learned] == ["a<end>"]
    assert joined(pieces) == "<user>assistant: a<assistant>a<end>"
    asked = chat(turn("u", "user", learned=True), turn("a", "x"))
    found = TemplateRenderer(CHATML, {}).pieces(asked)
    assert [piece.text for piece in found if piece.learned] == ["user", "x<|im_end|>"]


def test_a_row_that_the_template_refuses_is_refused_in_its_words() -> None:
    """raise_exception is a template's own way to say so; a system text gets a way out."""
    gemma = TemplateRenderer(TEMPLATES["gemma"], SPECIAL)
    with pytest.raises(RowError, match=r"refuses the row: Roles must alternate$"):
        gemma.pieces(ROWS["two answers"])
    with pytest.raises(RowError, match=r"System role not supported; put the system text at the st"):
        gemma.pieces(ROWS["system"])


def test_a_template_that_knows_no_developer_gets_a_system_text() -> None:
    """gpt-oss knows one."""
    text = joined(TemplateRenderer(CHATML, {}).pieces(ROWS["developer"]))
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>")


def test_rows_with_tools_get_the_template_for_tools() -> None:
    """Some folders have two templates."""
    texts = TemplateTexts(default=CHATML, tool_use="T" + CHATML)
    renderer = TemplateRenderer(texts, {})
    assert joined(renderer.pieces(ROWS["tools without a call"])).startswith("T<|im_start|>")
    assert joined(renderer.pieces(ROWS["system"])).startswith("<|im_start|>")


def test_a_date_and_a_missing_end_are_said() -> None:
    """Two trainings must not differ by the day; a model without an end of answers never stops."""
    assert "2024-07-26" in TemplateRenderer(TEMPLATES["llama"], {}).notes[0]
    assert TemplateRenderer(CHATML, {}).notes == ()
    endless = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    assert "where to stop" in TemplateRenderer(endless, {}).notes[0]


def test_plain_text_gets_the_end_token_once() -> None:
    """Its whole text is learned, and no template is used."""
    renderer = TemplateRenderer(CHATML, {"eos_token": "</s>"})
    for text in ("Once.", "Once.</s>"):
        row = Conversation(text=text, line=1)
        assert renderer.pieces(row) == (Piece(text="Once.</s>", learned=True),)


def test_every_turn_has_its_pieces() -> None:
    """The cut of a long row goes by turns."""
    pieces = TemplateRenderer(CHATML, {}).pieces(conversation("Hi", "Hello"))
    assert pieces == (
        Piece(text="<|im_start|>user\nHi<|im_end|>\n", turn=0),
        Piece(text="<|im_start|>assistant\n", turn=1),
        Piece(text="Hello<|im_end|>", learned=True, turn=1),
        Piece(text="\n", turn=1),
    )


@pytest.mark.slow
def test_loss_lies_where_marked_templates_put_it() -> None:
    """TRL ships 26 templates twice, once with marks; both give the same learned text.

    White space behind the turn apart. The others differ on purpose: TRL's marks also hold the
    speaker's name (DeepSeek, gpt-oss) or the line end behind it (Qwen2.5), the end of the row (Phi)
    or the next speaker's mark (GLM), and its templates keep thoughts that the models' own drop.
    """
    templates = {k.partition("/")[2]: v for k, v in shipped_templates().items() if "trl" in k}
    pairs = {n: f"{n}_training" for n in templates if f"{n}_training" in templates}
    agreeing = set()
    for plain, marked in pairs.items():
        renderers = [TemplateRenderer(templates[each], SPECIAL) for each in (plain, marked)]
        found = []
        for form in ("one exchange", "system and two", "three exchanges"):
            try:
                rows = [each.pieces(ROWS[form]) for each in renderers]
            except RowError:
                continue
            texts = [[p.text.rstrip() for p in row if p.learned] for row in rows]
            found.append(texts[0] == texts[1])
        if found and all(found):
            agreeing.add(plain)
    assert len(pairs) >= 26
    assert {
        "llama3",
        "qwen2_5_vl",
        "qwen3_vl",
        "qwen3_instruct_2507",
        "smolvlm",
        "llava_next",
        "gemma",
        "gemma3",
        "cohere",
        "lfm2",
        "idefics3",
    } <= agreeing


def test_a_call_that_the_template_does_not_write_teaches_nothing() -> None:
    """ChatTS's template has no words for tools: the turn would teach to end at once."""
    turns = (
        Turn(role=Role.USER, content="weather?"),
        Turn(role=Role.ASSISTANT, tool_calls=(ToolCall(name="w", arguments="{}"),)),
        Turn(role=Role.TOOL, content="sunny"),
        Turn(role=Role.ASSISTANT, content="Sunny."),
    )
    tools = '[{"type": "function", "function": {"name": "w"}}]'
    found = ChatTSRenderer().rendered(Conversation(turns=turns, tools=tools, line=1))
    assert found.unwritten == (Unwritten.CALLS, Unwritten.TOOLS)
    assert [piece.text for piece in found.pieces if piece.learned] == ["Sunny.<|im_end|>"]
