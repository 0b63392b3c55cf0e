"""The templates of the page, and the style sheet among them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

FOLDER = Path(__file__).resolve().parents[1] / "templates"


@cache
def environment() -> Environment:
    """Where templates come from; every value that a template shows is escaped."""
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        # A misspelt name is an error, where jinja2 would otherwise leave a hole in the page.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def template(name: str) -> Template:
    """A template by its file name. Raises jinja2.TemplateNotFound."""
    return environment().get_template(name)


def style_sheet(*, dark: bool = True) -> str:
    """The style sheet as text; without ``dark`` every reader gets the light colors."""
    return template("style.css.jinja").render(dark=dark)
