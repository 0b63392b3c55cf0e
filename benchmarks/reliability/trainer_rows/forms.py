"""Published forms of rows, three rows each, and rows that are hard to read the same."""

from __future__ import annotations

from typing import Any

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a place.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "A city."}},
                "required": ["city"],
            },
        },
    }
]
CITIES = ("Oslo", "Rome", "Lima")
DATES = ("2024-01-03", "2025-02-04", "2026-03-05")


def asked(question: str, answer: str) -> list[dict[str, Any]]:
    """A question of the user and the answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def called(city: str) -> list[dict[str, Any]]:
    """A question that a tool answers, as OpenAI writes it."""
    call = {"name": "weather", "arguments": f'{{"city": "{city}"}}'}
    return [
        {"role": "user", "content": f"Weather in {city}?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call00001", "type": "function", "function": call}],
        },
        {"role": "tool", "content": '{"sky": "clear"}', "tool_call_id": "call00001"},
        {"role": "assistant", "content": f"It is clear in {city}."},
    ]


FORMS: dict[str, list[dict[str, Any]]] = {
    "alpaca": [
        {"instruction": f"Name a river of {city}.", "input": "", "output": f"River {number}."}
        for number, city in enumerate(CITIES)
    ],
    "alpaca, input and system": [
        {"instruction": "Translate.", "input": city, "output": city[::-1], "system": "Be short."}
        for city in CITIES
    ],
    "alpaca, history": [
        {
            "instruction": "And now?",
            "input": "",
            "output": f"Now {city}.",
            "history": [["Where are you?", "At home."], ["And then?", "On the way."]],
        }
        for city in CITIES
    ],
    "ShareGPT, system and three exchanges": [
        {
            "system": "You know rivers.",
            "conversations": [
                {"from": speaker, "value": f"{text} {city}"}
                for speaker, text in (
                    ("human", "Which river runs through"),
                    ("gpt", "A long one runs through"),
                    ("human", "How long is it in"),
                    ("gpt", "It is long in"),
                    ("human", "Thank you from"),
                    ("gpt", "You are welcome in"),
                )
            ],
        }
        for city in CITIES
    ],
    "ShareGPT, tools": [
        {
            "tools": '[{"name": "weather", "description": "Weather of a place.", "parameters": '
            '{"type": "object", "properties": {"city": {"type": "string"}}}}]',
            "conversations": [
                {"from": "human", "value": f"Weather in {city}?"},
                {
                    "from": "function_call",
                    "value": f'{{"name": "weather", "arguments": {{"city": "{city}"}}}}',
                },
                {"from": "observation", "value": "clear"},
                {"from": "gpt", "value": f"It is clear in {city}."},
            ],
        }
        for city in CITIES
    ],
    "messages, two exchanges": [
        {"messages": [*asked("Who is there?", f"It is {city}."), *asked("Why?", "It rains.")]}
        for city in CITIES
    ],
    "messages, system": [
        {"messages": [{"role": "system", "content": "Be short."}, *asked(city, f"Yes, {city}.")]}
        for city in CITIES
    ],
    "messages, developer": [
        {"messages": [{"role": "developer", "content": "Be short."}, *asked(city, "Yes.")]}
        for city in CITIES
    ],
    "messages, weights": [
        {
            "messages": [
                {"role": "user", "content": f"Name {city}."},
                {"role": "assistant", "content": "No.", "weight": 0},
                {"role": "user", "content": "Once more."},
                {"role": "assistant", "content": f"{city}.", "weight": 1},
            ]
        }
        for city in CITIES
    ],
    "messages, content parts": [
        {
            "messages": [
                {"role": role, "content": [{"type": "text", "text": text}]}
                for role, text in (("user", f"Where is {city}?"), ("assistant", "Far away."))
            ]
        }
        for city in CITIES
    ],
    "messages, tools": [{"messages": called(city), "tools": TOOLS} for city in CITIES],
    "messages, thoughts": [
        {
            "messages": [
                *asked(f"Is {city} far?", "<think>\nIt is.\n</think>\n\nYes."),
                *asked("How far?", "<think>\nVery.\n</think>\n\nVery far."),
            ]
        }
        for city in CITIES
    ],
    "prompt and completion": [
        {"prompt": f"The capital is {city}", "completion": f" and {city} is old."}
        for city in CITIES
    ],
    "plain text": [{"text": f"{city} lies on a river. It rains there."} for city in CITIES],
    "answer after a line end": [
        {"messages": asked(f"Say {city}.", f"\n{city} it is.")} for city in CITIES
    ],
    "answer after a blank": [
        {"messages": asked(f"Say {city}.", f" {city} it is.")} for city in CITIES
    ],
    "blanks at the end": [
        {"messages": asked(f"Say {city}.  ", f"{city} it is.  \n")} for city in CITIES
    ],
    "answers that are dates": [
        {"messages": asked(f"When was {city} founded?", date)}
        for city, date in zip(CITIES, DATES, strict=True)
    ],
    "longer than the cutoff": [
        {
            "messages": [
                *asked(f"Where is {city}?", "Far away."),
                *asked("Tell me all.", f"{city} is a town. " * 60),
            ]
        }
        for city in CITIES
    ],
    "a question alone over the cutoff": [
        {"messages": asked(f"{city} is a town. " * 80, "I know.")} for city in CITIES
    ],
}
CUTOFF = 400
"""Tokens at which rows are cut; the two last forms are longer."""
