"""The chat templates and the special tokens that a model's folder holds.

Source: transformers 5.24, which looks for them in this order: chat_template.jinja together with
additional_chat_templates, then tokenizer_config.json; a processor's older chat_template.json last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from memory_models.frozen import frozen
from tsplanner.errors import TsplannerError
from tsplanner.reading import decoded, read_text

DEFAULT, TOOL_USE = "default", "tool_use"


@frozen
class TemplateTexts:
    """The text of a folder's chat templates."""

    default: str
    tool_use: str
    """For rows with tools; the same as ``default`` where the folder has no other."""


def template_texts(folder: Path) -> TemplateTexts | None:
    """The chat templates of a tokenizer's folder; None: it has none.

    Raises TsplannerError: a file is damaged, or none of several templates is the default.
    """
    named = _own_files(folder) or _configured(folder)
    if not named:
        return None
    if DEFAULT not in named:
        raise TsplannerError(
            f"{folder} has the chat templates {', '.join(sorted(named))} and none called default; "
            "copy the one to train with to chat_template.jinja"
        )
    return TemplateTexts(default=named[DEFAULT], tool_use=named.get(TOOL_USE, named[DEFAULT]))


def special_tokens(folder: Path) -> dict[str, str]:
    """Special tokens of a tokenizer's folder by name: ``bos_token``, ``eos_token``, …

    special_tokens_map.json counts only where tokenizer_config.json lists no added tokens.
    Raises TsplannerError: a file is damaged.
    """
    config = _json(folder / "tokenizer_config.json")
    found = dict(_tokens(config))
    if "added_tokens_decoder" not in config:
        found |= dict(_tokens(_json(folder / "special_tokens_map.json")))
    return found


def end_token(folder: Path) -> str:
    """The text of the token that ends a row without a template; empty: none is known.

    Where the tokenizer's files name none (GPT-2's do not), it is the one that config.json names by
    its number. Raises TsplannerError: a file is damaged.
    """
    named = special_tokens(folder).get("eos_token")
    if named is not None or "eos_token" in _json(folder / "tokenizer_config.json"):
        return named or ""
    number = _json(folder / "config.json").get("eos_token_id")
    number = number[0] if isinstance(number, list) and number else number
    added = _tokenizer_file(folder).added_tokens
    return next((each.content for each in added if each.id == number), "")


def begin_token(folder: Path) -> str:
    """The text of the token that the tokenizer puts before every text; empty: it puts none.

    Source: transformers, where ``add_bos_token`` goes before the post-processor of tokenizer.json.
    Raises TsplannerError: a file is damaged.
    """
    adds = _json(folder / "tokenizer_config.json").get("add_bos_token")
    if isinstance(adds, bool):
        return special_tokens(folder).get("bos_token", "") if adds else ""
    last: dict[str, Any] = _tokenizer_file(folder).post_processor or {}
    steps: list[dict[str, Any]] = [last, *last.get("processors", ())]
    for step in steps:
        first: dict[str, Any] = (step.get("single") or [{}])[0]
        if step.get("type") == "TemplateProcessing" and "SpecialToken" in first:
            return str(first["SpecialToken"].get("id", ""))
    return ""


class _AddedToken(msgspec.Struct):
    id: int
    content: str


class _TokenizerFile(msgspec.Struct):
    """What is read of a tokenizer.json; its large vocabulary is skipped."""

    added_tokens: list[_AddedToken] = []
    post_processor: dict[str, Any] | None = None


def _tokenizer_file(folder: Path) -> _TokenizerFile:
    file = folder / "tokenizer.json"
    with _named(file):
        if not file.is_file():
            return _TokenizerFile()
        return msgspec.json.decode(file.read_bytes(), type=_TokenizerFile)


def _own_files(folder: Path) -> dict[str, str]:
    files = {DEFAULT: folder / "chat_template.jinja"}
    more = folder / "additional_chat_templates"
    if more.is_dir():
        files |= {file.stem: file for file in sorted(more.glob("*.jinja"))}
    found = {}
    for name, file in files.items():
        with _named(file):
            if file.is_file():
                found[name] = read_text(file)
    return found


def _configured(folder: Path) -> dict[str, str]:
    for file in (folder / "tokenizer_config.json", folder / "chat_template.json"):
        found = _json(file).get("chat_template")
        if isinstance(found, str):
            return {DEFAULT: found}
        if isinstance(found, list):
            return {
                str(each["name"]): str(each["template"])
                for each in found
                if isinstance(each, dict) and {"name", "template"} <= each.keys()
            }
    return {}


def _tokens(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    more = config.get("extra_special_tokens")
    named = {name: value for name, value in config.items() if name.endswith("_token")}
    for name, value in {**named, **(more if isinstance(more, dict) else {})}.items():
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            yield name, text


def _json(file: Path) -> dict[str, Any]:
    with _named(file):
        found = decoded(read_text(file)) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _named(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise TsplannerError(f"{file} cannot be read ({error}); fetch the file again") from error
