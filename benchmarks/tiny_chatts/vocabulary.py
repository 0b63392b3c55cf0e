"""The tokenizer of tiny-chatts: byte-level BPE, every digit a token of its own, as in Qwen."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TS_START, TS_END = "<ts>", "<ts/>"
SPECIAL = (PAD, START, END, TS_START, TS_END)
VOCAB_SIZE = 1024

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Words the questions of the synthetic rows do not use, so that other English stays short.
COMMON_WORDS = (
    "a about above across after again all also always an and another any are around as at "
    "average away be became because been before begin below between both but by can change "
    "clear close compare could cycle day decrease difference direction does down during each "
    "early end even every few first five flat following for four from fully growth had half has "
    "have high hour how if in increase into is its largest last late least less level like local "
    "long low lower many maximum mean measure middle minimum month more most move much name near "
    "next no not now number observed of off on once one only or other out outlier over overall "
    "part pattern peak per period point position quarter quite range rate recent rise same "
    "season second section see sequence series several shape shift short show side signal since "
    "slow small smooth some stable start steady steep step strong such sudden than that the then "
    "there third this three time to toward trend two under unit until up upper value variation "
    "very week weak well were what when where which while whole wide window with without year yes"
)


def trained_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """BPE over the texts; a pre-token is one digit, or what stands between digits and blanks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}| ?[^\s\p{N}]+|\s+"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = COMMON_WORDS.split()
    common = [" " + " ".join(words), " ".join(word.capitalize() for word in words)] * 20
    tokenizer.train_from_iterator([*texts, *common], trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, with ChatTS's chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": END,
        "padding_side": "right",
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
