"""Reasons in words: in both languages, and word for word as people read them."""

from __future__ import annotations

import re
from enum import StrEnum
from string import Formatter

import pytest

from memory_models.settings import (
    Attention,
    Dtype,
    LossKernel,
    Optimizer,
    Quantization,
    changed,
    from_flat,
)
from tsplanner.planner.explain import reasons
from tsplanner.planner.explain.reasons import (
    AdviceRule,
    AppliedRule,
    ChangeKind,
    Explanation,
    LinkBasis,
    MemoryKind,
    Reason,
    Refusal,
    Remark,
    RemarkKind,
    RoundedPart,
    RuleName,
    StreamSource,
)
from tsplanner.planner.explain.sentences import (
    CHINESE,
    LANGUAGES,
    advice_sentence,
    checkpoint_words,
    describe,
    difference_words,
    explanation_sentence,
    nothing_fits_sentence,
    refusal_sentence,
    remark_sentence,
    sentence,
)
from tsplanner.planner.explain.templates import CPU_RULES, TABLES, VALUES, Phrase
from tsplanner.planner.settings import HardwareSettings
from tsplanner.throughput.step_parts import Bottleneck
from tsplanner.wording import NOUN


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "bf16 · one GPU"),
        ({"world_size": 2}, "bf16 · DDP x2"),
        ({"accelerator": "cpu", "model_dtype": Dtype.FP32}, "fp32 · CPU"),
        ({"quantization": Quantization.NF4_DQ}, "nf4-dq · one GPU"),
        ({"zero_stage": 3, "world_size": 4}, "bf16 · ZeRO-3 x4"),
        ({"fsdp": True, "world_size": 4, "nodes": 2}, "bf16 · FSDP2 x4 on 2 machines"),
        (
            {"fsdp": True, "fsdp_per_host": True, "world_size": 4, "nodes": 2},
            "bf16 · FSDP2 x2 on each of 2 machines",
        ),
        (
            {"zero_stage": 3, "offload_param": True, "offload_optimizer": True},
            "bf16 · ZeRO-3 x1 + param and optimizer offload",
        ),
        ({"optimizer": Optimizer.ADAMW_BNB_8BIT}, "bf16 · one GPU · adamw_bnb_8bit"),
    ],
)
def test_a_family_of_plans_is_named_in_a_few_words(values: dict[str, object], words: str) -> None:
    """What sets plans apart: storage, sharding, offload, optimizer."""
    assert describe(from_flat(HardwareSettings, **values)) == words  # type: ignore[arg-type]


TABLE_NAMES = [table.__name__ for table in TABLES]
MEMBERS = [member for table in TABLES for member in table]
VALUE_TABLES: dict[str, type[StrEnum]] = {
    "memory": MemoryKind,
    "bottleneck": Bottleneck,
    "rounded": RoundedPart,
    "link_basis": LinkBasis,
    "source": StreamSource,
}
HAN = re.compile("[\u4e00-\u9fff]")
ALIKE = {Phrase.CPU, Phrase.DDP, Phrase.FSDP, Phrase.ZERO}
"""Phrases that are names, and the same in both languages."""


def placeholders(template: str) -> list[tuple[str, str]]:
    """Names in braces with their formats, in a fixed order; an English noun is no format."""
    return sorted(
        (name, "" if spec is None or NOUN.fullmatch(spec) else spec)
        for _, name, spec, _ in Formatter().parse(template)
        if name is not None
    )


def test_every_enum_of_reasons_has_a_table() -> None:
    """A new enum without words fails here, not in front of a person."""
    enums = {
        each
        for each in vars(reasons).values()
        if isinstance(each, type) and issubclass(each, StrEnum) and each is not StrEnum
    }
    assert enums == (set(TABLES) | {LinkBasis, MemoryKind, RoundedPart, StreamSource}) - {Phrase}


@pytest.mark.parametrize("kind", TABLES, ids=TABLE_NAMES)
def test_every_member_has_words_and_no_words_are_left_over(kind: type[StrEnum]) -> None:
    """A new member without a sentence fails here."""
    assert set(TABLES[kind]) == set(kind)


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_both_languages_name_the_same_values(member: StrEnum) -> None:
    """No number is lost in translation, and Chinese words are Chinese."""
    english, chinese = TABLES[type(member)][member]
    assert placeholders(english) == placeholders(chinese)
    assert not HAN.search(english)
    assert HAN.search(chinese) or member in ALIKE


@pytest.mark.parametrize(("english", "chinese"), CPU_RULES.values())
def test_words_for_the_cpu_are_in_both_languages(english: str, chinese: str) -> None:
    """They name no GPU's capability."""
    assert placeholders(english) == placeholders(chinese) == []
    assert HAN.search(chinese)


def test_values_that_are_words_are_translated_as_well() -> None:
    """Every memory and every part of a step has words in both languages."""
    assert set(VALUES) == set(VALUE_TABLES)
    for name, kind in VALUE_TABLES.items():
        assert set(VALUES[name]) == set(kind)
        assert all(HAN.search(chinese) for _, chinese in VALUES[name].values())


def test_a_reason_reads_the_same_from_data_that_were_written_and_read() -> None:
    """JSON keeps plain strings; they stand for the members they were."""
    assert sentence(Reason.TIGHT, {"memory": MemoryKind.GPU}) == (
        "tight: the 95 % bound is over the GPU's free memory"
    )
    assert sentence(Reason.TIGHT, {"memory": "gpu"}) == sentence(
        Reason.TIGHT, {"memory": MemoryKind.GPU}
    )
    assert sentence(Reason.SLOWER, {"bottleneck": "memory traffic"}, CHINESE) == "更慢：访存"


def test_data_that_lack_a_name_are_an_error() -> None:
    """A sentence with a hole is not shown to anybody."""
    with pytest.raises(KeyError, match="memory"):
        sentence(Reason.OVER)


def test_members_of_equal_value_keep_their_own_words() -> None:
    """``devices`` may be a rule and, one day, something else: the enum decides, not the text."""
    assert sentence(Reason.CHOSEN) == "chosen"
    assert sentence(ChangeKind.LORA) == "method lora"
    assert sentence(Phrase.CPU) == "CPU"


def test_nothing_to_explain_is_no_sentence() -> None:
    """A plan that fits has no reason against it."""
    assert explanation_sentence(None) == ""
    found = Explanation(reason=Reason.SIMILAR_FAILED, data={"count": 2})
    assert explanation_sentence(found) == "2 other plans of its kind failed"


@pytest.mark.parametrize(
    ("accelerator", "english", "chinese"),
    [
        ("cuda", "flash_attention_2 needs compute capability 8.0, the GPU has 7.5", "计算能力 8.0"),
        ("cpu", "flash_attention_2 needs a GPU", "flash_attention_2 需要 GPU"),
    ],
)
def test_a_rule_says_of_a_cpu_what_holds_there(
    accelerator: str, english: str, chinese: str
) -> None:
    """A CPU has no compute capability to be too low."""
    refused = Refusal(
        rule=RuleName.FLASH_ATTENTION_CAPABILITY,
        hardware=from_flat(HardwareSettings, accelerator=accelerator),
        data={"capability": "7.5"} if accelerator == "cuda" else {},
    )
    assert refusal_sentence(refused) == english
    assert chinese in refusal_sentence(refused, CHINESE)


def test_a_remark_names_the_other_plan_and_why_it_is_not_taken() -> None:
    """In both languages; the reason is a refusal or an explanation."""
    other = from_flat(HardwareSettings, world_size=2)
    data: dict[str, str | int | float] = {"used": 1, "have": 2}
    slower = Explanation(reason=Reason.SLOWER, data={"bottleneck": Bottleneck.COMMUNICATION})
    remark = Remark(kind=RemarkKind.FEWER_GPUS, data=data, hardware=other, why=slower)
    assert remark_sentence(remark) == (
        "uses 1 of 2 GPUs; the best plan with more (bf16 · DDP x2): slower: traffic between GPUs"
    )
    refused = Refusal(rule=RuleName.MIG_SLICES, hardware=other)
    remark = Remark(kind=RemarkKind.FEWER_GPUS, data=data, hardware=other, why=refused)
    assert "MIG" in remark_sentence(remark, CHINESE)


def test_a_trained_base_says_whether_it_keeps_fp32_masters() -> None:
    """DeepSpeed keeps a copy in fp32, one process alone does not; fp32 weights are their own."""
    alone, sharded = HardwareSettings(), from_flat(HardwareSettings, zero_stage=2, world_size=2)
    whole = from_flat(HardwareSettings, model_dtype=Dtype.FP32)
    assert describe(alone, trains_base=True) == "pure bf16 · one GPU"
    assert describe(sharded, trains_base=True) == "bf16 with fp32 masters · ZeRO-2 x2"
    assert describe(whole, trains_base=True) == "fp32 · one GPU"
    assert describe(alone) == "bf16 · one GPU"


def test_rules_of_thumb_stand_one_after_the_other() -> None:
    """Thousands are separated and tokens are in millions."""
    epochs = AppliedRule(
        rule=AdviceRule.EPOCHS_BY_ROWS,
        data={"rows": 2000, "tokens": 1.25, "epochs": 3, "samples": 6000, "saturated": 6500},
    )
    short = AppliedRule(rule=AdviceRule.RATE_SHORT_RUN, data={"steps": 78})
    assert advice_sentence([epochs, short]) == (
        "samples in all: 6,000 (rows: 2,000, 1.25 M tokens; epochs: 3); one task saturated near "
        "6,500; a short run stands up to 1.5 times that (steps: 78)"
    )
    assert advice_sentence([short, short], CHINESE).count("；") == 1


def test_what_is_missing_is_told_in_gib() -> None:
    """3 GiB and a half are needed, 2 are free."""
    hardware = from_flat(HardwareSettings, world_size=2)
    assert nothing_fits_sentence(hardware, 7 * 2**29, 2**31) == (
        "Nothing fits: the smallest plan (bf16 · DDP x2) needs 3.5 GiB, 2.0 GiB are free"
    )
    assert nothing_fits_sentence(hardware, 7 * 2**29, 2**31, of_host=True) == (
        "Nothing fits: the smallest plan (bf16 · DDP x2) needs 3.5 GiB of host RAM, 2.0 GiB are "
        "free"
    )
    assert "（bf16 · DDP x2）需要 3.5 GiB" in nothing_fits_sentence(
        hardware, 7 * 2**29, 2**31, CHINESE
    )


@pytest.mark.parametrize(
    ("values", "layers", "english", "chinese"),
    [
        ({"gradient_checkpointing": False}, 28, "checkpointing off", "检查点关闭"),
        ({}, None, "checkpointing on", "检查点开启"),
        ({"checkpointed_layers": 7}, None, "checkpointing 7 layers", "检查点 7 层"),
        (
            {"checkpointed_layers": 7},
            28,
            "checkpointing 7 of 28 layers",
            "检查点 7 层（共 28 层）",
        ),
    ],
)
def test_checkpoints_are_named_by_their_layers(
    values: dict[str, object], layers: int | None, english: str, chinese: str
) -> None:
    """None, all, or a number beside the model's own where that is known."""
    given = {"gradient_checkpointing": True} | values
    hardware = from_flat(HardwareSettings, **given)  # type: ignore[arg-type]
    assert checkpoint_words(hardware, layers) == english
    assert checkpoint_words(hardware, layers, CHINESE) == chinese


@pytest.mark.parametrize(
    ("values", "english", "chinese"),
    [
        ({}, "the same", "其余相同"),
        ({"micro_batch_size": 4}, "the same, micro-batch 4", "其余相同，微批次 4"),
        ({"loss_kernel": LossKernel.FUSED}, "the same, fused loss", "其余相同，融合损失"),
        (
            {"attention": Attention.FLEX_ATTENTION},
            "the same, flex_attention",
            "其余相同，flex_attention",
        ),
        (
            {"world_size": 2, "gradient_checkpointing": True},
            "bf16 · DDP x2, checkpointing on",
            "bf16 · DDP x2，检查点开启",
        ),
    ],
)
def test_an_alternative_is_named_by_what_sets_it_apart(
    values: dict[str, object], english: str, chinese: str
) -> None:
    """What both plans share is left out."""
    chosen = from_flat(HardwareSettings, gradient_checkpointing=False, loss_kernel=LossKernel.PLAIN)
    other = changed(chosen, **values)  # type: ignore[arg-type]
    assert difference_words(other, chosen) == english
    assert difference_words(other, chosen, CHINESE) == chinese


def test_offload_is_named_alone_or_together() -> None:
    """Parameters, optimizer states, or both; nothing where nothing is offloaded."""
    sharded = from_flat(HardwareSettings, zero_stage=3, world_size=2)
    ends = [
        describe(changed(sharded, offload_param=param, offload_optimizer=optimizer), language)
        for language in LANGUAGES
        for param, optimizer in ((True, False), (False, True), (True, True), (False, False))
    ]
    assert [words.rpartition("x2")[2] for words in ends] == [
        " + param offload",
        " + optimizer offload",
        " + param and optimizer offload",
        "",
        " + 参数卸载",
        " + 优化器卸载",
        " + 参数与优化器卸载",
        "",
    ]
