"""Command lines of plan, estimate, export and tune with values that nobody expects."""

from __future__ import annotations

from pathlib import Path
from random import Random

VALUES = (
    "", " ", "0", "1", "-1", "2", "3", "7", "64", "65", "1000", "1e3", "1e400", "nan", "inf", "-inf", "0.5", "1_000", "٣",
    "9" * 30, "9" * 5000, str(2**40), str(2**63), "x" * 300, "x" * 5000, "\x1b[31m", "a\nb", "\u2028", "\udcff", "\x00", "~nobody",
    "/dev/null", "/dev/zero", "..", "/", ".", "null", "none", "all", "on", "off", "true", "full", "lora", "nf4", "int8", "cpu",
    "q_proj", "q_proj,,", ",", "all-linear", "8,16", "4,x", "1e-5..1e-3", "1e-3..1e-5", "..", "nan..nan", "2x RTX 3090",
    "0x V100", "1000x H100 80GB", "H100 80GB x 3", "RTX 3090 24GiB + 1x RTX 4090", "+", "3h", "90", "1h30m", "99999999d",
)  # fmt: skip
NUMBERS = (
    "1",
    "2",
    "3",
    "4",
    "7",
    "8",
    "13",
    "16",
    "64",
    "100",
    "999",
    "1000",
    "4096",
    "100000",
    "1000003",
    "16777216",
    "1e-3",
    "0.5",
    "0.1",
    str(2**31),
    str(10**12),
)
NUMERIC = frozenset(
    [
        "--lora-rank",
        "--lora-alpha",
        "--lora-dropout",
        "--adalora-init-rank",
        "--freeze-trainable-layers",
        "--learning-rate",
        "--epochs",
        "--effective-batch",
        "--cutoff-len",
        "--validation-fraction",
        "--seed",
        "--world-size",
        "--micro-batch-size",
        "--checkpointed-layers",
        "--cpu-threads",
        "--price-per-hour",
        "--sequence-length",
        "--gradient-accumulation-steps",
        "--nodes",
        "--time-limit",
        "--trials",
        "--jobs",
        "--timeseries-lr",
    ]
)
VERBS = {
    "plan": (
        "--model --dataset --tokenizer --on-bad-rows --gpus --machine --finetuning-type --lora-rank --lora-alpha"
        " --lora-dropout --lora-target --adalora-init-rank --freeze-trainable-layers --learning-rate --timeseries-lr"
        " --epochs --effective-batch --cutoff-len --validation-fraction --seed --world-size --micro-batch-size"
        " --gradient-checkpointing --checkpointed-layers --attention --loss-kernel --optimizer --kernels --model-dtype"
        " --quantization --zero-stage --host-memory --deepspeed --offload-optimizer --offload-param --cpu-threads --price-per-hour --experiment"
        " --saves --output"
    ),
    "estimate": (
        "--model --device --sequence-length --micro-batch-size --gradient-accumulation-steps --finetuning-type"
        " --lora-rank --lora-target --quantization --zero-stage --world-size --attention --optimizer --cases"
        " --freeze-trainable-layers --checkpointed-layers --model-dtype --autocast --offload-param --deepspeed"
    ),
    "export": "--plan --nodes --time-limit --command --weights --template --run-folder",
    "tune": "--plan --run-folder --lora-rank --learning-rate --epochs --trials --budget --jobs --concurrent-loras --storage --saves",
}
MODELS = ("qwen2.5-0.5b", "tiny-chatts", "llama-3.2-1b", "gemma-3-1b", "chatts-8b", "opt-125m")
EXPERIMENT = "chatts-8b_rtx-6000_lora-r8"
EXPORTERS = (
    "torchrun",
    "accelerate",
    "deepspeed",
    "sbatch",
    "skypilot",
    "llamafactory",
    "axolotl",
    "trl",
)


def drawn_words(chance: Random, folder: Path) -> list[str]:
    """A verb, what it needs to answer quickly, and one to three flags with odd values."""
    verb = chance.choice(("plan", "plan", "estimate", "export", "tune"))
    flags = VERBS[verb].split()
    words = [verb]
    if verb == "export":
        words += [chance.choice(EXPORTERS), "--output", str(folder / "exported")]
        words += ["--plan", str(folder / f"plan-{chance.randrange(4)}.json")]
    elif verb == "tune":
        words += ["--plan", str(folder / "plan-0.json"), "--saves", str(folder / "searches")]
    else:
        words += ["--model", chance.choice(MODELS)]
        words += (
            ["--gpus", chance.choice(("RTX 3090", "cpu", "4x H100 80GB"))] if verb == "plan" else []
        )
        words += ["--saves", str(folder / "flags")] if verb == "plan" else []
        if verb == "plan" and chance.random() < 0.1:
            words += ["--experiment", EXPERIMENT]
    for _ in range(chance.choice((1, 1, 2, 3))):
        flag = chance.choice(flags)
        sane = flag in NUMERIC and chance.random() < 0.8
        value = chance.choice(NUMBERS if sane else VALUES)
        # These name places to write to: outside the scratch folder they would be somebody's files.
        if flag in ("--saves", "--output", "--run-folder"):
            value = str(folder / "w") + "/" + value.lstrip("/").replace("..", "dots")
        words += [f"{flag}={value}"]
    return words
