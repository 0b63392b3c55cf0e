"""Words of other trainers stand for flags that are here, or are refused with the reason."""

from __future__ import annotations

import pytest

from memory_models.settings import Dtype, FinetuningType, Quantization
from tsplanner.commands.inputs.aliases import (
    REFUSED,
    VALUES,
    WORDS,
    is_taken,
    own_flag,
    own_words,
    table,
    values_table,
)
from tsplanner.commands.inputs.hardware_flags import pins
from tsplanner.commands.inputs.keywords import options, words
from tsplanner.commands.inputs.learning_flags import learning_values
from tsplanner.commands.inputs.verbs import verb_parser
from tsplanner.errors import UsageError

PLAN = verb_parser("plan")
BITS_8, FLASH = "adamw_bnb_8bit", "flash_attention_2"


def ours(line: str) -> str:
    """A command line of plan in our own words."""
    return " ".join(own_words(line.split(), PLAN))


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ("--num_train_epochs 2 --lora_r=16", "--epochs 2 --lora-rank 16"),
        # A flag of our own, spelled as Python spells names.
        ("--learning_rate 1e-4 --max_grad_norm=0.3", "--learning-rate 1e-4 --max-grad-norm=0.3"),
        ("--max-seq-length 4096", "--cutoff-len 4096"),
        ("--bf16 --lr 1e-4", "--model-dtype bf16 --learning-rate 1e-4"),
        ("--bf16 true --fp16 False", "--model-dtype bf16"),
        ("--load_in_4bit --adapter qlora", "--quantization nf4 --finetuning-type qlora"),
        (
            "--quantization_bit 8 --flash_attn fa2",
            "--quantization int8 --attention flash_attention_2",
        ),
        ("--torch_dtype auto --use_dora", "--finetuning-type dora"),
        ("--use_gradient_checkpointing unsloth", "--gradient-checkpointing on"),
        # What was a place is a number today, and its ends are the places.
        ("--host-checkpoints on", "--inputs-on-device 0"),
        ("--host-checkpoints=off", "--inputs-on-device all"),
        ("--random_state 3407 --early_stopping_steps 2", "--seed 3407 --early-stopping-patience 2"),
        # Values of theirs, under their word or ours.
        (
            "--lora_target all --lora-target=all",
            "--lora-target all-linear --lora-target=all-linear",
        ),
        ("--optim adamw_8bit", "--optimizer adamw_bnb_8bit"),
        ("--optimizer adamw_8bit --attention fa2", f"--optimizer {BITS_8} --attention {FLASH}"),
        ("--bf16 auto --fp16 --max_steps -1", "--model-dtype fp16"),
        ("--tuner_type full --attn_impl flash_attn", f"--finetuning-type full --attention {FLASH}"),
        ("--use_liger_kernel true --quant_bits 4", "--kernels liger --quantization nf4"),
        # A warm-up below 1 is a share in transformers 5, and 1 is one step.
        ("--warmup_steps 0.1 --warmup-steps=0.03", "--warmup-ratio 0.1 --warmup-ratio=0.03"),
        ("--warmup_steps 0.0 --warmup-steps 1.0", "--warmup-steps 0 --warmup-steps 1"),
        ("--warmup_steps 1.5 --warmup_steps x", "--warmup-steps 1.5 --warmup-steps x"),
        # DoRA is a kind of LoRA, and all linears are more than some, in any order.
        ("--use_dora --finetuning_type lora", "--finetuning-type lora --finetuning-type dora"),
        ("--lora_target_linear true --lora_r 8", "--lora-rank 8 --lora-target all-linear"),
        # What nobody has stays as it was typed, and argparse refuses it.
        ("--no_such_flag 3 --epochs 2", "--no_such_flag 3 --epochs 2"),
    ],
)
def test_a_word_of_another_trainer_is_our_flag(theirs: str, expected: str) -> None:
    """With the value as we write it."""
    assert ours(theirs) == expected


def test_a_whole_line_of_another_trainer_makes_the_plan_that_it_means() -> None:
    """As TRL's command line has it."""
    line = (
        "--model_name_or_path qwen2.5-7b --num_train_epochs 2 --per_device_train_batch_size 2 "
        "--gradient_accumulation_steps 8 --lora_r 32 --use_rslora --load_in_4bit --bf16"
    )
    parsed = options("plan", line.split())
    assert parsed.model == "qwen2.5-7b"
    assert learning_values(parsed) == {
        "finetuning_type": FinetuningType.RSLORA,
        "lora_rank": 32,
        "num_train_epochs": 2,
        "effective_batch_size": 16,
    }
    found = pins(parsed)
    assert found.get("micro_batch_size") == 2
    assert found.get("quantization") is Quantization.NF4
    assert found.get("model_dtype") is Dtype.BF16


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_word_without_a_flag_is_refused_with_the_reason(name: str) -> None:
    """One sentence, in the spelling that was typed."""
    typed = f"--{name.replace('-', '_')}"
    with pytest.raises(UsageError) as refused:
        ours(f"{typed} 1")
    assert str(refused.value) == f"{typed} is no setting here: {REFUSED[name]}."


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--bf16 maybe", "--bf16 takes true or false, not 'maybe'"),
        ("--num_train_epochs", "--num_train_epochs has no value: it stands for --epochs"),
    ],
)
def test_a_word_with_a_wrong_value_is_refused(line: str, says: str) -> None:
    """Before argparse sees it."""
    with pytest.raises(UsageError, match=says):
        ours(line)


def test_every_word_stands_for_a_flag_of_plan_and_hides_none() -> None:
    """A word that is spelled as a flag here would never be read."""
    known = PLAN._option_string_actions
    assert {word.flag for word in WORDS.values()} <= set(known)
    assert not {f"--{name}" for name in (*WORDS, *REFUSED)} & set(known)
    assert {word.first for word in WORDS.values()} == {"", "--autocast"}
    assert [name for name, _, _ in table()] == sorted(each.replace("-", "_") for each in WORDS)
    assert set(VALUES) <= set(known)
    assert [flag for flag, _ in values_table()] == sorted(VALUES)


def test_words_count_on_verbs_that_have_their_flag() -> None:
    """Estimate has a rank and no learning rate; train has neither."""
    assert is_taken("lora-r", verb_parser("estimate"))
    assert not is_taken("lr", verb_parser("estimate"))
    assert not is_taken("lora-r", verb_parser("train"))
    assert not is_taken("packing", verb_parser("train"))


def test_mixed_precision_is_of_the_arithmetic_where_a_verb_tells_it_from_the_weights() -> None:
    """Under Trainer ``bf16`` casts no weights; a plan has one precision for both."""
    estimate = verb_parser("estimate")
    assert own_words(["--bf16", "true"], estimate) == ["--autocast", "bf16"]
    assert own_words(["--pure_bf16", "true"], estimate) == ["--model-dtype", "bf16"]
    assert own_words(["--bf16", "true"], PLAN) == ["--model-dtype", "bf16"]


def test_the_precision_of_the_file_goes_before_a_trainers_habit() -> None:
    """TRL loads weights in fp32 unless it is told ``auto``; a plan chooses by itself."""
    estimate = verb_parser("estimate")
    for word in ("--dtype", "--torch_dtype", "--model-dtype"):
        assert own_words([word, "auto"], estimate) == ["--model-dtype", "bf16"]
        assert own_words([word, "auto"], PLAN) == []


def test_a_word_on_a_verb_without_its_flag_is_known_by_it() -> None:
    """So that the verb that has the flag can be named."""
    assert own_flag("--num_train_epochs") == "--epochs"
    assert own_flag("--max_steps") == "--max-steps"


def test_python_takes_the_same_words() -> None:
    """As keywords, with True and lists for what they are on the command line."""
    line = words(
        "plan",
        {
            "num_train_epochs": 0.5,
            "bf16": True,
            "lora_target_modules": ["q_proj", "v_proj"],
            "gradient_accumulation_steps": 2,
            "micro_batch_size": 4,
            "load_in_8bit": None,
        },
    )
    parsed = options("plan", line)
    assert (parsed.epochs, parsed.model_dtype) == (0.5, "bf16")
    assert parsed.lora_target == ("q_proj", "v_proj")
    assert learning_values(parsed)["effective_batch_size"] == 8
    with pytest.raises(UsageError, match="label_smoothing_factor is no setting here"):
        options("plan", words("plan", {"label_smoothing_factor": 0.1}))
