"""Chat rows of real prose, and a tokenizer of 151,643 entries trained on it: both from seeds.

The prose is the documentation of this Python environment: docstrings of the standard library and of
all installed packages, and their .rst, .md and .txt files, paragraph by paragraph. A row draws its
paragraphs at random, so a row is new although its paragraphs are not.
"""

from __future__ import annotations

import json
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import msgspec

QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ENTRIES = 151_643
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEMS = (
    "You are a helpful assistant.",
    "You answer questions about a Python environment, briefly and with an example where it helps.",
    "You are a careful reviewer. Name the function that you speak of, and say what is not certain.",
)
_DOCSTRING = re.compile(r'"""(.+?)"""', re.S)
_INDENT = re.compile(r"^[ \t]+", re.M)


def paragraphs(folder: Path) -> list[str]:
    """Paragraphs of 80 to 2,000 characters; a wrapped one gets one line, code keeps its lines."""
    kept = folder / "paragraphs.json"
    if not kept.is_file():
        kept.write_bytes(msgspec.json.encode(list(dict.fromkeys(_found()))))
    found: list[str] = msgspec.json.decode(kept.read_bytes())
    return found


def _found() -> Iterator[str]:
    paths = sysconfig.get_paths()
    for root in dict.fromkeys((paths["purelib"], paths["stdlib"])):
        for path in sorted(Path(root).rglob("*")):
            if path.suffix not in (".py", ".rst", ".md", ".txt") or not path.is_file():
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            whole = _DOCSTRING.findall(text) if path.suffix == ".py" else [text]
            for part in (part for each in whole for part in re.split(r"\n\s*\n", each)):
                if 80 <= len(part) <= 2000:
                    yield _unwrapped(part)


def _unwrapped(text: str) -> str:
    """Prose in one line; what looks like code or a list stays as it is."""
    looks = re.search(r">>>|^\s*([-*+#|.>]|\d+\.|\w+ ?=|def |class |import )", text, re.M)
    return text.strip("\n") if looks else " ".join(_INDENT.sub("", text).split())


def tokenizer(folder: Path) -> Path:
    """The folder of the tokenizer, trained once."""
    target = folder / "tokenizer"
    if not (target / "tokenizer.json").is_file():
        target.mkdir(parents=True, exist_ok=True)
        _trained(paragraphs(folder)).save(str(target / "tokenizer.json"))
        config = {"chat_template": TEMPLATE, "eos_token": "<|im_end|>"}
        (target / "tokenizer_config.json").write_text(json.dumps(config))
    return target


def _trained(texts: list[str]) -> object:
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )

    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN), "isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, in_bytes])
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES,
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    return made


def rows(texts: list[str], *, seed: int = 2026) -> Iterator[dict[str, object]]:
    """Endless rows of one to four exchanges: a question of a paragraph, an answer of up to six."""
    draw = random.Random(seed)
    while True:
        turns = []
        if draw.random() < 0.3:
            turns.append({"role": "system", "content": draw.choice(SYSTEMS)})
        for _ in range(draw.choice((1, 1, 1, 2, 2, 3, 4))):
            turns.append({"role": "user", "content": draw.choice(texts)})
            answer = "\n\n".join(draw.choices(texts, k=draw.randint(1, 6)))
            turns.append({"role": "assistant", "content": answer})
        yield {"messages": turns}


def write_jsonl(path: Path, texts: list[str], size: int) -> None:
    """Write rows to at least ``size`` bytes."""
    written = 0
    with path.with_suffix(".part").open("wb") as file:
        for row in rows(texts):
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            file.write(line)
            written += len(line)
            if written >= size:
                break
    path.with_suffix(".part").replace(path)


def write_parquet(path: Path, source: Path) -> None:
    """Write the rows of a JSONL file as Parquet, in groups of 4,096 rows, as `datasets` does it."""
    import pyarrow
    import pyarrow.parquet

    turn = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    schema = pyarrow.schema([("messages", pyarrow.list_(turn))])
    part = path.with_suffix(".part")
    with pyarrow.parquet.ParquetWriter(part, schema) as writer, source.open("rb") as lines:
        batch: list[object] = []
        for line in lines:
            batch.append(msgspec.json.decode(line))
            if len(batch) == 4096:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema))
                batch = []
        if batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
    part.replace(path)
