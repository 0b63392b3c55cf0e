"""Words of other trainers for flags that are here: the one table of them.

A word counts on a verb that has the flag which it stands for. Underscores and hyphens are one, so
``--num_train_epochs 3`` and ``--num-train-epochs 3`` are both ``--epochs 3``. Their values for a
flag count however the flag is spelled: ``--lora-target all`` is ``--lora-target all-linear``.

Sources: TrainingArguments of transformers 5.24, SFTConfig and ModelConfig of trl 1.16, hparams/ of
llamafactory 0.9.5, utils/schemas/ of axolotl 0.19, FastLanguageModel of Unsloth's notebooks,
arguments/ of ms-swift 4 (2026-08).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from memory_models.frozen import frozen
from tsplanner.errors import UsageError, quoted

HF, TRL, FACTORY, AXOLOTL, UNSLOTH = "transformers", "TRL", "LLaMA-Factory", "axolotl", "Unsloth"
SWIFT = "ms-swift"
TRUE, FALSE = "true", "false"


@frozen
class Word:
    """What another trainer's word stands for."""

    flag: str
    by: tuple[str, ...]
    """The trainers that have it."""
    values: Mapping[str, str | None] = field(default_factory=dict)
    """Their value, in small letters, by ours, before ``VALUES`` of the flag."""
    switch: bool = False
    """It may stand without a value, which means true."""
    first: str = ""
    """The flag that it stands for on a verb that has this one, too."""

    def flag_of(self, parser: argparse.ArgumentParser) -> str:
        """The flag that it stands for on a verb."""
        return self.first if self.first in parser._option_string_actions else self.flag


def _switch(flag: str, value: str, *by: str, first: str = "") -> Word:
    """A word that is true or false, for one value of a flag."""
    return Word(flag=flag, by=by, values={TRUE: value, FALSE: None}, switch=True, first=first)


def _mixed(value: str) -> Word:
    """Trainer's word for mixed precision: of the arithmetic, where a verb tells it from weights."""
    values = {TRUE: value, FALSE: None, "auto": None}
    by = (HF, TRL, FACTORY, AXOLOTL)
    return Word(flag="--model-dtype", by=by, values=values, switch=True, first="--autocast")


FLASH = "flash_attention_2"
VALUES: dict[str, dict[str, str | None]] = {
    "--model-dtype": {
        "bfloat16": "bf16",
        "float16": "fp16",
        "half": "fp16",
        "float32": "fp32",
        "auto": None,
    },
    "--attention": {
        "fa2": FLASH,
        "flash_attn": FLASH,
        "kernels-community/flash-attn2": FLASH,
        "disabled": "eager",
        "auto": None,
    },
    "--quantization": {"4": "nf4", "8": "int8"},
    "--gradient-checkpointing": {"unsloth": "on"},
    "--lora-target": {"all": "all-linear"},
    "--optimizer": {"adamw_8bit": "adamw_bnb_8bit"},
    "--max-steps": {"-1": None},
}
"""Their value of a flag, in small letters, by ours; None: leave the flag out. Others stay."""
AS_STORED = {"--model-dtype": "bf16"}
"""What a flag that is left out stands for on a verb where a trainer's habit would fill it."""
WORDS: dict[str, Word] = {
    "model-name-or-path": Word(flag="--model", by=(HF, TRL, FACTORY)),
    "model-name": Word(flag="--model", by=(UNSLOTH,)),
    "base-model": Word(flag="--model", by=(AXOLOTL,)),
    "dataset-name": Word(flag="--dataset", by=(TRL,)),
    "datasets": Word(flag="--dataset", by=(AXOLOTL,)),
    "tuner-type": Word(flag="--finetuning-type", by=(SWIFT,)),
    "train-type": Word(flag="--finetuning-type", by=(SWIFT,)),
    "attn-impl": Word(flag="--attention", by=(SWIFT,)),
    "quant-bits": Word(flag="--quantization", by=(SWIFT,)),
    "split-dataset-ratio": Word(flag="--validation-fraction", by=(SWIFT,)),
    "global-batch-size": Word(flag="--effective-batch", by=(SWIFT, "Megatron")),
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
    "quantization-bit": Word(flag="--quantization", by=(FACTORY,)),
    "bf16": _mixed("bf16"),
    "fp16": _mixed("fp16"),
    "pure-bf16": _switch("--model-dtype", "bf16", FACTORY),
    "dtype": Word(flag="--model-dtype", by=(TRL, UNSLOTH)),
    "torch-dtype": Word(flag="--model-dtype", by=(HF, SWIFT)),
    "optim": Word(flag="--optimizer", by=(HF, TRL, FACTORY, UNSLOTH)),
    "attn-implementation": Word(flag="--attention", by=(TRL, AXOLOTL)),
    "flash-attn": Word(flag="--attention", by=(FACTORY,)),
    "flash-attention": _switch("--attention", FLASH, AXOLOTL),
    "flex-attention": _switch("--attention", "flex_attention", AXOLOTL),
    "eager-attention": _switch("--attention", "eager", AXOLOTL),
    "sdp-attention": _switch("--attention", "sdpa", AXOLOTL),
    "use-liger-kernel": _switch("--kernels", "liger", HF, TRL),
    "enable-liger-kernel": _switch("--kernels", "liger", FACTORY),
    "use-gradient-checkpointing": Word(flag="--gradient-checkpointing", by=(UNSLOTH,), switch=True),
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

REFINING = frozenset(
    {"use-dora", "peft-use-dora", "use-rslora", "peft-use-rslora", "lora-target-linear"}
)
"""Words that say more of what another word says; they count wherever they stand beside it."""
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
    "evals-per-epoch": WHEN,
    "saves-per-epoch": WHEN,
    "save-total-limit": "two checkpoints are kept, and both are removed once a run is over",
    "load-best-model-at-end": "the weights of the best evaluation are saved in any case",
    "per-device-eval-batch-size": "held-out rows pass one by one, or as training packs them",
    "logging-steps": "every step is logged",
    "output-dir": "runs are kept under --saves",
}
"""Words that have no flag here, with the reason."""


def own_words(line: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """A verb's command line with its own flags and values in place of other trainers'.

    Raises UsageError for a word that has no flag here.
    """
    known = parser._option_string_actions
    found: list[str] = []
    refined: list[str] = []
    words = list(line)
    while words:
        word = words.pop(0)
        name, sign, value = word.partition("=")
        flag = f"--{key(name)}"
        taken = flag not in known and is_taken(key(name), parser)
        if not name.startswith("--") or not (taken or flag in known):
            found.append(word)
            continue
        given = value if sign else None
        if not sign and words and not words[0].startswith("--"):
            given = words.pop(0)
        if taken:
            into = refined if key(name) in REFINING else found
            into += _translated(name, given, parser)
        else:
            found += [flag] if given is None else _own(flag, given, parser, sign)
    return [*found, *refined]


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
    return name in WORDS and WORDS[name].flag_of(parser) in known


def _translated(name: str, value: str | None, parser: argparse.ArgumentParser) -> Iterator[str]:
    """A word and its value as our flag."""
    if (why := REFUSED.get(key(name))) is not None:
        raise UsageError(f"{name} is no setting here: {why}.")
    word = WORDS[key(name)]
    flag = word.flag_of(parser)
    if value is None:
        if not word.switch:
            raise UsageError(f"{name} has no value: it stands for {flag}.")
        value = TRUE
    if word.flag != "--dataset" and key(name) in SWITCHES and value.lower() not in word.values:
        raise UsageError(f"{name} takes true or false, not {quoted(value)}.")
    ours = word.values.get(value.lower(), value)
    if ours is not None:
        yield from _own(flag, ours, parser)


def _own(flag: str, value: str, parser: argparse.ArgumentParser, sign: str = "") -> Iterator[str]:
    """A flag of ours with a value that may be theirs, joined by ``sign`` where there is one."""
    ours = VALUES.get(flag, {}).get(value.lower(), value)
    if ours is None and "--recipe" in parser._option_string_actions:
        ours = AS_STORED.get(flag)
    if flag == "--warmup-steps" and ours is not None:
        flag, ours = _warm_up(ours)
    if ours is not None:
        yield from [f"{flag}{sign}{ours}"] if sign else [flag, ours]


def _warm_up(steps: str) -> tuple[str, str]:
    """Steps of the warm-up, which below 1 are their share of the run.

    Source: transformers 5.24 training_args.py, ``get_warmup_steps``.
    """
    try:
        number = float(steps)
    except ValueError:
        return "--warmup-steps", steps
    if 0 < number < 1:
        return "--warmup-ratio", steps
    return "--warmup-steps", f"{number:.0f}" if number.is_integer() else steps


SWITCHES = frozenset(name for name, word in WORDS.items() if {TRUE, FALSE} <= set(word.values))
"""Words that take true and false alone."""


def table() -> Iterator[tuple[str, str, str]]:
    """Word, trainers and what it stands for here, for the page that lists them."""
    for name, word in sorted(WORDS.items()):
        means = "".join(f"; {_meaning(*pair)}" for pair in word.values.items())
        first = f" (`estimate`: `{word.first}`)" if word.first else ""
        yield name.replace("-", "_"), ", ".join(word.by), f"`{word.flag}`{first}{means}"


def values_table() -> Iterator[tuple[str, str]]:
    """Flag and what their values of it are here, for the page that lists them."""
    for flag, values in sorted(VALUES.items()):
        means = "; ".join(_meaning(*pair) for pair in values.items())
        yield flag, means + (f" (`estimate`: `{AS_STORED[flag]}`)" if flag in AS_STORED else "")


def _meaning(theirs: str, ours: str | None) -> str:
    return f"`{theirs}`: {'left out' if ours is None else f'`{ours}`'}"
