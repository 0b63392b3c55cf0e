"""Small tokenizers of the known patterns, trained on a few sentences."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Sequence, Split

SENTENCES = (
    "The valve opens when the pressure is above 4.5 bar, and it doesn't close before 3.25.",
    "def opened(valve):\n    # They're all shut at 100000 h.\n    return valve.state == 'open'\n",
    "Die Pumpe läuft; 水泵在运行。 Жизнь идёт — it's “quiet”…\r\n\tThat is all (see [2], p. 17).",
)
ADDED = ("<|im_start|>", "<|im_end|>", "<ts>", "<ts/>", "<think>", "</think>", "<|im|>")

SCRAPS = (
    *" \n\t./'-=_(1234",
    *("  ", "\n\n", "\r\n", "'s", "aB", "Load", "é", "水", "100", "\u3000"),
)


def scraps(count: int) -> list[str]:
    """Texts in which blanks, signs and digits meet as they rarely do, so that tokens hold them."""
    draw = random.Random(7)
    return ["".join(draw.choices(SCRAPS, k=12)) for _ in range(count)]


def byte_level(
    pattern: str | None = None, *, vocabulary: int = 2000, nfc: bool = False
) -> Tokenizer:
    """A byte-level BPE tokenizer; without a pattern that of GPT-2 as the library has it."""
    made = Tokenizer(models.BPE())
    if pattern is None:
        made.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        split = Split(Regex(pattern), "isolated")
        made.pre_tokenizer = Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    if nfc:
        made.normalizer = normalizers.NFC()
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=1,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*SENTENCES, *scraps(1500)], trainer)
    made.add_tokens([AddedToken(text, special=True, normalized=False) for text in ADDED])
    return made


def saved(tokenizer: Any, folder: Path) -> Path:
    """The folder, with the tokenizer in it."""
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def metaspace(*, normalised: bool = False) -> Tokenizer:
    """A tokenizer as sentencepiece makes them: a blank becomes a sign at the start of a word.

    ``normalised``: by a normalizer for the whole text, as Llama 2 and Gemma do it; otherwise by a
    pre-tokenizer, at the start of the text alone, as Mistral does it.
    """
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if normalised:
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        made.normalizer = normalizers.Sequence(steps)
    else:
        made.pre_tokenizer = Metaspace(prepend_scheme="first", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        min_frequency=1,
        special_tokens=["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    made.train_from_iterator([*SENTENCES, *scraps(500)], trainer)
    made.add_tokens([AddedToken(text, special=True, normalized=False) for text in ADDED])
    return made
