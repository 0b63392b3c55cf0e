"""How fast rows become text by a chat template, on one core, and how many of them need Jinja.

python benchmarks/speed/rendering.py [--rows 3000] [--folder DIR with .jinja files]

Without a folder the templates are those that the tests state in the manner of well-known ones. The
rows are drawn from a fixed seed: one to three exchanges of 5 to 150 words, half with a system text.
MB are those of the rendered texts.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.templates import CALL, ROWS, SPECIAL, TEMPLATES
from tsplanner.datasets.records import Conversation, Role, Turn
from tsplanner.datasets.rendering.pieces import joined
from tsplanner.datasets.rendering.template import TemplateRenderer
from tsplanner.errors import TsplannerError

TEXT = (
    "open the valve and tell me how much water flows through pump seven in the hall of the old "
    "mill because nothing works since the user wrote a text to his assistant about an image"
)
WORDS = TEXT.split()


def main() -> None:
    """Print a line per template."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--folder", type=Path, help="folder with .jinja files")
    options = parser.parse_args()
    templates = TEMPLATES
    if options.folder:
        templates = {file.stem: file.read_text("utf-8") for file in options.folder.rglob("*.jinja")}
    rows = list(plain_rows(options.rows))
    calls = [calling(row) for row in rows[: options.rows // 10]]
    print(f"{'template':32} {'plain rows':>12} {'with a call':>12}   (MB/s on one core)")
    for name, source in sorted(templates.items()):
        try:
            renderer = TemplateRenderer(source, SPECIAL)
            speeds = [megabytes_per_second(renderer, each) for each in (rows, calls)]
        except TsplannerError as error:
            print(f"{name:32} {error}")
            continue
        print(f"{name:32} {speeds[0]:12.1f} {speeds[1]:12.1f}")


def megabytes_per_second(renderer: TemplateRenderer, rows: list[Conversation]) -> float:
    """Speed over the rows that the template takes; the first pass finds the shapes of the rows."""
    taken = [row for row in rows if takes(renderer, row)]
    size = sum(len(joined(renderer.pieces(row)).encode()) for row in taken)
    begun = time.process_time()
    for row in taken:
        renderer.rendered(row)
    return size / 1e6 / max(1e-9, time.process_time() - begun)


def takes(renderer: TemplateRenderer, row: Conversation) -> bool:
    """Whether the template renders a row."""
    try:
        renderer.rendered(row)
    except ValueError:
        return False
    return True


def plain_rows(count: int) -> Iterator[Conversation]:
    """Conversations of questions and answers."""
    draw = random.Random(1)

    def said(role: Role, least: int, most: int) -> Turn:
        words = draw.choices(WORDS, k=draw.randint(least, most))
        return Turn(role=role, content=" ".join(words).capitalize() + ".")

    for line in range(count):
        turns = [said(Role.SYSTEM, 10, 30)] if draw.random() < 0.5 else []
        for _ in range(draw.randint(1, 3)):
            turns += [said(Role.USER, 5, 80), said(Role.ASSISTANT, 20, 150)]
        yield Conversation(turns=tuple(turns), line=line)


def calling(row: Conversation) -> Conversation:
    """The row with a call of a tool before it."""
    called = Turn(role=Role.ASSISTANT, tool_calls=(CALL,))
    told = Turn(role=Role.TOOL, content='{"open": true}', name="valve", tool_call_id=CALL.id)
    first = 1 if row.turns[0].role is Role.SYSTEM else 0
    asked = Turn(role=Role.USER, content="Is it open?")
    turns = (*row.turns[:first], asked, called, told, row.turns[first + 1], *row.turns[first + 2 :])
    return Conversation(turns=turns, tools=ROWS["call"].tools, line=row.line)


if __name__ == "__main__":
    main()
