# ruff: noqa: E501 templates are longer than lines
"""Chat templates in the manner of well-known ones, and rows of every form that they meet."""

from __future__ import annotations

import json

from tsplanner.datasets.records import Conversation, Role, ToolCall, Turn

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set order = messages[0].content | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set order = '' %}{% endif %}"
    "{{ '<|header|>system<|/header|>\\n\\nToday: ' + strftime_now('%d %b %Y') + '\\n\\n' + order }}"
    "<|eot|>{% for m in messages %}"
    "{{ '<|header|>' + m.role + '<|/header|>\\n\\n' + m.content | trim + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|header|>assistant<|/header|>\\n\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}"
    "{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<turn>' + role + '\\n' + m.content | trim + '</turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% set asked = messages | selectattr('role', 'equalto', 'user') | list %}"
    "{% if messages[0].role == 'system' %}{% set order = messages[0].content %}"
    "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}"
    "{% if m.role == 'user' %}{% if m == asked[-1] and order is defined %}"
    "{{ '[INST] ' + order + '\\n\\n' + m.content + '[/INST]' }}{% else %}"
    "{{ '[INST] ' + m.content + '[/INST]' }}{% endif %}"
    "{% elif m.tool_calls is defined %}{{ '[TOOL_CALLS] [' }}{% for c in m.tool_calls %}"
    "{% if c.id is not defined or c.id | length != 9 %}"
    "{{ raise_exception('Ids of calls have nine characters') }}{% endif %}"
    "{{ (c.function | tojson)[:-1] + ', \"id\": \"' + c.id + '\"}' + (']' if loop.last else ', ') }}"
    "{% endfor %}{{ eos_token }}"
    "{% elif m.role == 'tool' %}{{ '[RESULT] ' + m.content + ' ' + m.tool_call_id + '[/RESULT]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content.strip() + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant, not ' + m.role) }}{% endif %}{% endfor %}"
)
QWEN3 = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- '<tools>' }}
    {%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages | length - 1, looking=true) %}
{%- for m in messages[::-1] %}
    {%- if ns.looking and m.role == 'user' %}
        {%- set ns.looking = false %}
        {%- set ns.last = messages | length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set said = m.content if m.content is string else '' %}
    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + m.role + '\\n' + said + '<|im_end|>\\n' }}
    {%- elif m.role == 'assistant' %}
        {%- set thoughts = m.reasoning_content if m.reasoning_content is string else '' %}
        {%- if not thoughts and '</think>' in said %}
            {%- set thoughts = said.split('</think>')[0].split('<think>')[-1] %}
            {%- set said = said.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last and (loop.last or thoughts) %}
            {{- '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + said.lstrip('\\n') }}
        {%- else %}
            {{- said }}
        {%- endif %}
        {%- for call in m.tool_calls or [] %}
            {%- if said or not loop.first %}{{- '\\n' }}{%- endif %}
            {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson + '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + said + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
DEEPSEEK = (
    "{% set ns = namespace(order='', told=false) %}{% for m in messages %}"
    "{% if m.role == 'system' %}{% set ns.order = ns.order + m.content %}{% endif %}{% endfor %}"
    "{{ bos_token + ns.order }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '<|User|>' + m.content }}{% endif %}{% if m.role == 'assistant' %}"
    "{{ '<|told|>' if ns.told else '<|Assistant|>' }}{% set ns.told = false %}"
    "{% set said = m.content %}{% if '</think>' in said %}{% set said = said.split('</think>')[-1] %}"
    "{% endif %}{{ said }}{% for c in m.tool_calls or [] %}"
    "{{ '<|call|>' + c.function.name + '\\n' + c.function.arguments + '<|/call|>' }}{% endfor %}"
    "{{ eos_token }}{% endif %}{% if m.role == 'tool' %}{% set ns.told = true %}"
    "{{ '<|tell|>' + m.content }}{% endif %}{% endfor %}{% if ns.told %}<|told|>{% endif %}"
    "{% if add_generation_prompt and not ns.told %}{{ '<|Assistant|><think>\\n' }}{% endif %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
CHANNELS = """\
{%- macro order(text) -%}
<|start|>developer<|message|>{{ text | trim }}<|end|>
{%- endmacro -%}
{{- '<|start|>system<|message|>Date: ' + strftime_now('%Y-%m-%d') + '<|end|>' }}
{%- if messages[0].role in ['developer', 'system'] %}
    {{- order(messages[0].content) }}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for m in messages -%}
    {%- if m.role == 'assistant' -%}
        {%- if '<|channel|>' in m.content %}{{- raise_exception('No channels in a text') }}{%- endif %}
        {%- if m.tool_calls %}
            {{- '<|start|>assistant to=' + m.tool_calls[0].function.name + '<|message|>' }}
            {{- m.tool_calls[0].function.arguments | tojson + '<|call|>' }}
        {%- elif loop.last and not add_generation_prompt %}
            {%- if 'thinking' in m %}
                {{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}
            {%- endif %}
            {{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|return|>' }}
        {%- else %}
            {{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}
        {%- endif %}
    {%- elif m.role == 'tool' %}
        {{- '<|start|>tool<|message|>' + m.content | tojson + '<|end|>' }}
    {%- else %}
        {{- '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}
"""
VISION = (
    "{% for m in messages %}{{ m.role | capitalize }}: {% for part in m.content %}"
    "{% if part.type == 'image' %}<image>{% elif part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}<end>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content + '<|im_end|>\\n' }}{% endgeneration %}{% else %}"
    "{{ m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
BRACKETED = (
    "{% for m in messages %}{% if loop.first %}<|bom|>{% else %}<|eom|><|bom|>{% endif %}"
    "<|{{ m.role }}|> {{ m.content }}{% endfor %}<|eom|>"
    "{% if add_generation_prompt %}<|bom|><|assistant|>{% endif %}"
)
COUNTED = (
    "{% for i in range(messages | length) %}{% set m = messages[i] %}"
    "[|{{ m.role }}|]{{ m.content }}[|end|]{% endfor %}"
    "{% if add_generation_prompt %}[|assistant|]{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "llama": LLAMA,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "qwen3": QWEN3,
    "deepseek": DEEPSEEK,
    "phi": PHI,
    "channels": CHANNELS,
    "vision": VISION,
    "marked": MARKED,
    "bracketed": BRACKETED,
    "counted": COUNTED,
}

TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "valve",
                "description": "Opens <it> & 'more'.",
                "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}},
            },
        }
    ]
)


def turn(role: str, content: str = "", **more: object) -> Turn:
    """A turn by the first letters of its role."""
    found = next(each for each in Role if each.startswith(role))
    return Turn(role=found, content=content, **more)  # type: ignore[arg-type]


def chat(*turns: Turn, tools: str = "") -> Conversation:
    """A row."""
    return Conversation(turns=turns, tools=tools, line=1)


CALL = ToolCall(name="valve", arguments='{"id": 7, "why": "flow"}', id="call00007")
ASK, SAY = turn("u", "Is pump 3 on?"), turn("a", "It is on.")
CALLS = turn("a", tool_calls=(CALL,))
TELLS = turn("t", '{"open": true}', name="valve", tool_call_id="call00007")
ROWS = {
    "one exchange": chat(ASK, SAY),
    "system": chat(turn("s", "Be brief."), ASK, SAY),
    "three exchanges": chat(
        ASK, SAY, turn("u", "And 4?"), turn("a", "Off."), turn("u", "Why?"), SAY
    ),
    "system and two": chat(
        turn("s", "Be brief."), ASK, SAY, turn("u", "And 4?"), turn("a", "Off.")
    ),
    "developer": chat(turn("d", "Be brief."), ASK, SAY),
    "white space": chat(
        turn("u", " Is it on? \n"), turn("a", "\n\nIt is. \n"), ASK, turn("a", "Y ")
    ),
    "thoughts": chat(
        ASK, turn("a", "On.", thoughts="Hm one."), ASK, turn("a", "On", thoughts="Hm two")
    ),
    "thoughts in the text": chat(
        ASK,
        turn("a", "<think>\nHm\n</think>\n\nOn."),
        ASK,
        turn("a", "<think>\nHo\n</think>\n\nOff."),
    ),
    "call": chat(ASK, CALLS, TELLS, SAY, tools=TOOLS),
    "call with text, then more": chat(
        turn("s", "Be brief."),
        ASK,
        turn("a", "I look.", tool_calls=(CALL,)),
        TELLS,
        SAY,
        turn("u", "Thanks"),
        turn("a", "Welcome."),
        tools=TOOLS,
    ),
    "tools without a call": chat(ASK, SAY, tools=TOOLS),
    "two answers": chat(ASK, SAY, turn("a", "And 4 is off.")),
    "question at the end": chat(ASK, SAY, turn("u", "Bye")),
    "other writing": chat(
        turn("u", "Ist «Ä» <b>an</b>? 泵\U0001f600"), turn("a", '{"ja": ["{{x}}"]}')
    ),
    "empty question": chat(turn("u", ""), SAY),
}
