"""Words of other trainers for flags that are here: the one table of them.

A word counts on a verb that has the flag which it stands for. Underscores and hyphens are one, so
``--num_train_epochs 3`` and ``--num-train-epochs 3`` are both ``--epochs 3``.

Sources: TrainingArguments of transformers 5.24, SFTConfig and ModelConfig of trl 1.16, hparams/ of
llamafactory 0.9.5, utils/schemas/ of axolotl 0.19, FastLanguageModel of Unsloth's notebooks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from memory_models.frozen import frozen
from tsplanner.errors import UsageError, quoted

HF, TRL, FACTORY, AXOLOTL, UNSLOTH = "transformers", "TRL", "LLaMA-Factory", "axolotl", "Unsloth"
TRUE, FALSE = "true", "false"


@frozen
class Word:
    """What another trainer's word stands for."""

    flag: str
    by: tuple[str, ...]
    """The trainers that have it."""
    values: Mapping[str, str | None] = field(default_factory=dict)
    """Their value, in small letters, by ours; None: leave the flag out. Others stay as they are."""
    switch: bool = False
    """It may stand without a value, which means true."""


def _switch(flag: str, value: str, *by: str) -> Word:
    """A word that is true or false, for one value of a flag."""
    return Word(flag=flag, by=by, values={TRUE: value, FALSE: None}, switch=True)


DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "auto": None}
KERNELS = {"fa2": "flash_attention_2", "disabled": "eager", "auto": None}
BITS = {"4": "nf4", "8": "int8"}
WORDS: dict[str, Word] = {
    "model-name-or-path": Word(flag="--model", by=(HF, TRL, FACTORY)),
    "model-name": Word(flag="--model", by=(UNSLOTH,)),
    "base-model": Word(flag="--model", by=(AXOLOTL,)),
    "dataset-name": Word(flag="--dataset", by=(TRL,)),
    "datasets": Word(flag="--dataset", by=(AXOLOTL,)),
    "tokenizer-name-or-path": Word(flag="--tokenizer", by=(FACTORY,)),
    "num-train-epochs": Word(flag="--epochs", by=(HF, TRL, FACTORY, UNSLOTH)),
    "num-epochs": Word(flag="--epochs", by=(AXOLOTL,)),
    "lr": Word(flag="--learning-rate", by=("torchtune",)),
    "lr-scheduler": Word(flag="--lr-scheduler-type", by=(AXOLOTL,)),
    "gradient-clipping": Word(flag="--max-grad-norm", by=("DeepSpeed",)),
    "clip-grad": Word(flag="--max-grad-norm", by=("Megatron",)),
    "max-length": Word(flag="--cutoff-len", by=(TRL,)),
    "max-seq-length": Word(flag="--cutoff-len", by=(TRL, UNSLOTH)),
    "max-seq-len": Word(flag="--cutoff-len", by=("torchtune",)),
    "sequence-len": Word(flag="--cutoff-len", by=(AXOLOTL,)),
    "per-device-train-batch-size": Word(flag="--micro-batch-size", by=(HF, TRL, FACTORY, UNSLOTH)),
    "val-size": Word(flag="--validation-fraction", by=(FACTORY,)),
    "val-set-size": Word(flag="--validation-fraction", by=(AXOLOTL,)),
    "random-state": Word(flag="--seed", by=(UNSLOTH,)),
    "early-stopping-steps": Word(flag="--early-stopping-patience", by=(FACTORY,)),
    "neftune-alpha": Word(flag="--neftune-noise-alpha", by=(FACTORY,)),
    "adapter": Word(flag="--finetuning-type", by=(AXOLOTL,)),
    "use-dora": _switch("--finetuning-type", "dora", TRL, FACTORY, UNSLOTH),
    "peft-use-dora": _switch("--finetuning-type", "dora", AXOLOTL),
    "use-rslora": _switch("--finetuning-type", "rslora", TRL, FACTORY, UNSLOTH),
    "peft-use-rslora": _switch("--finetuning-type", "rslora", AXOLOTL),
    "r": Word(flag="--lora-rank", by=(UNSLOTH, "PEFT")),
    "lora-r": Word(flag="--lora-rank", by=(TRL, AXOLOTL)),
    "target-modules": Word(flag="--lora-target", by=(UNSLOTH, "PEFT")),
    "lora-target-modules": Word(flag="--lora-target", by=(TRL, AXOLOTL)),
    "lora-target-linear": _switch("--lora-target", "all-linear", AXOLOTL),
    "lora-modules-to-save": Word(flag="--modules-to-save", by=(TRL, AXOLOTL)),
    "additional-target": Word(flag="--modules-to-save", by=(FACTORY,)),
    "load-in-4bit": _switch("--quantization", "nf4", TRL, AXOLOTL, UNSLOTH),
    "load-in-8bit": _switch("--quantization", "int8", TRL, AXOLOTL, UNSLOTH),
    "quantization-bit": Word(flag="--quantization", by=(FACTORY,), values=BITS),
    "bf16": _switch("--model-dtype", "bf16", HF, TRL, FACTORY, AXOLOTL),
    "fp16": _switch("--model-dtype", "fp16", HF, TRL, FACTORY, AXOLOTL),
    "dtype": Word(flag="--model-dtype", by=(TRL, UNSLOTH), values=DTYPES),
    "torch-dtype": Word(flag="--model-dtype", by=(HF,), values=DTYPES),
    "optim": Word(flag="--optimizer", by=(HF, TRL, FACTORY, UNSLOTH)),
    "attn-implementation": Word(flag="--attention", by=(TRL, AXOLOTL), values=KERNELS),
    "flash-attn": Word(flag="--attention", by=(FACTORY,), values=KERNELS),
    "flash-attention": _switch("--attention", "flash_attention_2", AXOLOTL),
    "flex-attention": _switch("--attention", "flex_attention", AXOLOTL),
    "sdp-attention": _switch("--attention", "sdpa", AXOLOTL),
    "eager-attention": _switch("--attention", "eager", AXOLOTL),
    "use-gradient-checkpointing": Word(
        flag="--gradient-checkpointing", by=(UNSLOTH,), values={"unsloth": "on"}, switch=True
    ),
    "host-checkpoints": Word(
        flag="--inputs-on-device",
        by=("tsplanner before 0.3",),
        values={"on": "0", TRUE: "0", "off": "all", FALSE: "all"},
    ),
    "train-on-prompt": _switch("--loss-on", "all", FACTORY),
    "train-on-inputs": _switch("--loss-on", "all", AXOLOTL),
    "mask-history": _switch("--loss-on", "last", FACTORY),
    "assistant-only-loss": _switch("--loss-on", "assistant", TRL),
}
"""By their word, with hyphens. A word that is spelled as the flag here is not in the table."""

BATCH = "gradient-accumulation-steps"
LAYOUT = (
    "rows are laid end to end where that is faster, and learn the same as padded ones: "
    "--token-budget N fixes it, --token-budget none pads"
)
WHEN = (
    "it evaluates and saves at the end of every epoch: --eval-steps N and --save-steps N change it"
)
REFUSED: dict[str, str] = {
    "label-smoothing-factor": "there is no label smoothing: held-out losses are compared as nats "
    "per answer token, and a loss in chunks has no place for it",
    "adam-beta1": "Adam's betas are 0.9 and 0.999",
    "adam-beta2": "Adam's betas are 0.9 and 0.999",
    "adam-epsilon": "Adam's epsilon is 1e-8",
    "packing": LAYOUT,
    "sample-packing": LAYOUT,
    "neat-packing": LAYOUT,
    "padding-free": LAYOUT,
    "group-by-length": "the order of rows is learned from and stays random",
    "eval-strategy": WHEN,
    "evaluation-strategy": WHEN,
    "save-strategy": WHEN,
    "save-total-limit": "two checkpoints are kept, and both are removed once a run is over",
    "load-best-model-at-end": "the weights of the best evaluation are saved in any case",
    "per-device-eval-batch-size": "held-out rows pass one by one, or as training packs them",
    "logging-steps": "every step is logged",
    "output-dir": "runs are kept under --saves",
}
"""Words that have no flag here, with the reason."""


def own_words(line: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """A verb's command line with its own flags in place of other trainers' words.

    Raises UsageError for a word that has no flag here.
    """
    known = parser._option_string_actions
    found: list[str] = []
    words = list(line)
    while words:
        word = words.pop(0)
        name, sign, value = word.partition("=")
        hyphened = f"--{key(name)}"
        if not name.startswith("--") or name in known:
            found.append(word)
        elif hyphened in known:
            found.append(hyphened + sign + value)
        elif is_taken(key(name), parser):
            found += _translated(name, value if sign else None, words)
        else:
            found.append(word)
    return found


def key(name: str) -> str:
    """A flag or keyword as the tables have it: ``--num_train_epochs`` is ``num-train-epochs``."""
    return name.removeprefix("--").replace("_", "-")


def own_flag(typed: str) -> str:
    """The flag that a word stands for: another trainer's, or ours in another spelling."""
    name = key(typed)
    return WORDS[name].flag if name in WORDS else f"--{name}"


def is_taken(name: str, parser: argparse.ArgumentParser) -> bool:
    """Whether a verb takes a word of the tables; those refused count on verbs that plan."""
    known = parser._option_string_actions
    if name in REFUSED:
        return "--lora-target" in known
    return name in WORDS and WORDS[name].flag in known


def _translated(name: str, value: str | None, rest: list[str]) -> Iterator[str]:
    """A word and its value as our flag; a value of its own is taken from the ``rest``."""
    if (why := REFUSED.get(key(name))) is not None:
        raise UsageError(f"{name} is no setting here: {why}.")
    word = WORDS[key(name)]
    if value is None and rest and not rest[0].startswith("--"):
        value = rest.pop(0)
    if value is None:
        if not word.switch:
            raise UsageError(f"{name} has no value: it stands for {word.flag}.")
        value = TRUE
    if word.flag != "--dataset" and key(name) in SWITCHES and value.lower() not in word.values:
        raise UsageError(f"{name} takes true or false, not {quoted(value)}.")
    ours = word.values.get(value.lower(), value)
    if ours is not None:
        yield from (word.flag, ours)


SWITCHES = frozenset(name for name, word in WORDS.items() if {TRUE, FALSE} <= set(word.values))
"""Words that take true and false alone."""


def table() -> Iterator[tuple[str, str, str]]:
    """Word, trainers and what it stands for here, for the page that lists them."""
    for name, word in sorted(WORDS.items()):
        means = "".join(
            f"; `{theirs}`: {'left out' if ours is None else f'`{ours}`'}"
            for theirs, ours in word.values.items()
        )
        yield name.replace("-", "_"), ", ".join(word.by), f"`{word.flag}`{means}"
