"""The tokenizer of tiny-chatts: byte-level BPE, every digit a token of its own, as in Qwen."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TS_START, TS_END = "<ts>", "<ts/>"
SPECIAL = (PAD, START, END, TS_START, TS_END)
VOCAB_SIZE = 1536

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# English around measurements. Rows that ask to repeat such words train their embeddings, which
# an adapter leaves alone.
COMMON_WORDS = (
    "a about above across after again all also always an and another any are around as at average "
    "away be became because been before begin below between both break but by calm can carbon "
    "change clear climbing close compare consumption could cycle data day decrease difference "
    "dioxide direction do does down downward during each early economy end ends even event every "
    "falling few first five flat flow following for four from fully gap growth had half has have "
    "heat high higher hour how if in income increase inflation interest into investment is it its "
    "jump just large largest last late least left less level like local location long low lower "
    "many mark maximum mean measure middle mild minimum money month monthly more most move "
    "movement much name near never next nile no none not now number object observed of off on "
    "once one only opposed or other ours out outlier output over overall part pattern peak people "
    "per period point position power price prices public quarter question quick quiet quite range "
    "rate reading real recent recurrence recurring report rest right rise rising river rule same "
    "sea season second section see sequence series several shape share shift short show side "
    "sideways signal since single sinking slow small smooth some spending stable start steady "
    "steep step steps still stock strong such sudden sun sunspots table temperature than that the "
    "then there they third this three tide time to together total toward trend trough turn two "
    "under unemployment unit unrelated until up upper upward value variation very walk water wave "
    "way weak week weekly well were what when where which while whole wide wind window with "
    "without word year yearly yes yet you zero"
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
    capital = [word.capitalize() for word in words]
    # With a blank before it or at the start of a line, small or capital.
    common = [" " + " ".join(words), " " + " ".join(capital), "\n".join(capital)] * 20
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
