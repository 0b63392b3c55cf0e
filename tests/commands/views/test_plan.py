"""What a person and a program read of a plan: the answer, the alternatives, the next command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.result import Component, Interval
from memory_models.settings import FinetuningType, LossKernel, changed
from memory_models.units import format_gib
from tests.support.rig import TURING
from tests.support.toy_request import GIB, HOPPER, request
from tsplanner.commands.views.plan import (
    advice_lines,
    money,
    next_command,
    print_choice,
    print_failure,
    print_memory,
    print_verdict,
    seconds,
    settings_line,
)
from tsplanner.commands.views.plan_json import (
    failure_values,
    refusal_values,
    suggestion_values,
)
from tsplanner.commands.views.screen import Screen
from tsplanner.planner.advice import Suggestion
from tsplanner.planner.explain.reasons import AdviceRule, AppliedRule
from tsplanner.planner.forecast import Cost
from tsplanner.planner.plan import Plan, Verdict
from tsplanner.planner.rank import Choice, Failure, NothingFits, choose
from tsplanner.planner.request import Pins, PlanRequest

ASKED = request("qwen2.5-7b", HOPPER, HOPPER, finetuning_type=FinetuningType.FULL)
RANK = Suggestion(
    setting="lora_rank",
    value=32,
    planned=8,
    rules=(AppliedRule(rule=AdviceRule.LARGEST_RANK),),
    source="a sweep",
)
RATE = Suggestion(
    setting="learning_rate",
    value=3e-4,
    planned=3e-4,
    rules=(
        AppliedRule(rule=AdviceRule.RATE_LARGE_MODEL),
        AppliedRule(rule=AdviceRule.RATE_SHORT_RUN, data={"steps": 78}),
    ),
    source="a sweep",
)


@pytest.fixture(scope="module")
def choice() -> Choice:
    """Full fine-tuning of 7B on two H200, which has many alternatives."""
    return choose(ASKED)


def failure(asked: PlanRequest) -> Failure:
    """What is told where nothing fits."""
    with pytest.raises(NothingFits) as caught:
        choose(asked)
    return caught.value.failure


def test_every_alternative_that_the_planner_picked_is_a_row(
    choice: Choice, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its bytes, its speed and its reason; the rest are counted."""
    print_choice(ASKED, choice, Path("plan.json"))
    printed = capsys.readouterr().out
    table = printed.partition("  Also possible")[2].splitlines()
    rows = table[1 : 1 + len(choice.shown)]
    for line, row in zip(rows, choice.shown, strict=True):
        needs = row.evaluated.memory.process_bytes
        assert f"{format_gib(needs.expected)} ({format_gib(needs.upper)})" in line
        assert f"{row.relative_speed:.2f}x" in line
    on_front = [row for row in choice.front if row.evaluated.hardware != choice.plan.hardware]
    hidden = len(on_front) + len(choice.alternatives) - len(choice.shown)
    assert f"  … {hidden} more (--json lists all)\n" in printed
    assert printed.endswith(
        "Next   copy plan.json to that machine and run there  tsplanner probe --plan plan.json\n"
        "       or write a job for it here  tsplanner export torchrun --plan plan.json\n"
    )


def test_a_refusal_is_told_with_its_rule(
    choice: Choice, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody reads of what was not asked for."""
    asked = replace(ASKED, pins=Pins(quantization=None))
    print_choice(asked, choice, Path("plan.json"))
    printed = capsys.readouterr().out
    assert printed.count("  Refused   ") == 1
    assert "a quantised base cannot be trained by full  [quantized-base]\n" in printed
    print_choice(ASKED, choice, Path("plan.json"))
    assert "Refused" not in capsys.readouterr().out


def test_an_alternative_that_rounds_says_so_whatever_else_speaks_against_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Tight or slower, a base in 4 bits is another thing to learn on."""
    asked = request("qwen2.5-14b", TURING)
    found = choose(asked)
    print_choice(asked, replace(found, shown=found.front), Path("plan.json"))
    table = capsys.readouterr().out.partition("  Also possible")[2].splitlines()
    rows = [line for line in table if line.startswith("  nf4-dq")]
    assert rows
    assert all("rounds the base to 4 bits" in row for row in rows)
    assert any("; rounds the base to 4 bits" in row for row in rows)


def test_a_table_of_probes_stands_between_memory_and_alternatives(
    choice: Choice, capsys: pytest.CaptureFixture[str]
) -> None:
    """After probes the next step is the search."""
    here = replace(choice.plan, machine=replace(choice.plan.machine, detected=True))
    probed = replace(choice, plan=here)
    print_choice(ASKED, probed, Path("plan.json"), probes=["Probed", "a row"])
    printed = capsys.readouterr().out
    places = [printed.index(words) for words in ("free now", "Probed\na row\n", "Also possible")]
    assert places == sorted(places)
    assert printed.endswith("Next   tsplanner tune --plan plan.json --trials 8\n")


def test_the_next_command_can_be_pasted() -> None:
    """A path with a blank is quoted."""
    assert next_command(Path("my saves/plan.json")) == (
        "tsplanner probe --plan 'my saves/plan.json'"
    )


def test_advice_is_one_line_of_values_and_a_line_per_rule() -> None:
    """A value that is planned already is not told twice."""
    assert advice_lines([RANK, RATE]) == [
        "tune starts from rank 32 (train takes the planned 8) · lr 0.0003, unless you set another"
        "   (sources: --json)",
        "rank: the largest that fits, as it was best for 31 of 35 models; ranks differ by 0.006 "
        "nats at the median",
        "lr: 3e-4 came within 0.0051 nats of the best for nine of ten models, at any rank; "
        "a short run stands up to 1.5 times that (steps: 78)",
    ]
    assert advice_lines([]) == []


def test_where_nothing_fits_the_smallest_plan_and_every_change_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By how much, of which memory, and the bytes after each change."""
    asked = request("qwen2.5-1.5b", TURING, finetuning_type=FinetuningType.FULL, packages=())
    found = failure(asked)
    print_failure(asked, found)
    printed = capsys.readouterr().out
    needs = found.smallest.memory.process_bytes
    assert f"needs {format_gib(needs.expected)} GiB per card" in printed
    assert "21.0 are free: over the GPU's free memory\n" in printed
    assert printed.count("What would make it fit") == 1
    for suggested in found.suggestions:
        words = suggestion_values(suggested)["change"]
        whose = "of host RAM" if suggested.of_host else "per card"
        assert f"   {words} (needs {format_gib(suggested.needs_bytes)} GiB {whose})\n" in printed
    document = failure_values(found)
    assert document["remedies"] == [suggestion_values(each) for each in found.suggestions]
    assert document["refusals"] == [refusal_values(each) for each in found.refusals]


def test_where_no_change_helps_a_person_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list would leave a person waiting for it."""
    asked = request("qwen2.5-1.5b", TURING, finetuning_type=FinetuningType.FULL)
    found = failure(
        request("qwen2.5-72b", TURING, packages=(), finetuning_type=FinetuningType.FULL)
    )
    print_failure(asked, replace(found, suggestions=()))
    assert "  No single change would make it fit.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({}, "full on pure bf16 · DDP x2"),
        ({"micro_batch_size": 4, "gradient_accumulation_steps": 2}, "x accumulation 2 x 2 ="),
        ({"loss_kernel": LossKernel.PLAIN}, "plain loss"),
        (
            {"gradient_checkpointing": True, "checkpointed_layers": 9},
            "checkpointing 9 of 28 layers",
        ),
        ({"world_size": 1, "gradient_accumulation_steps": 16, "micro_batch_size": 1}, "1 x accum"),
    ],
)
def test_settings_are_one_line(choice: Choice, changes: dict[str, object], part: str) -> None:
    """Method, family, batch, checkpoints, loss and attention, with dots between them."""
    hardware = changed(choice.plan.hardware, **changes)  # type: ignore[arg-type]
    words = settings_line(replace(choice.plan, hardware=hardware))
    assert part in words
    assert words.count(" · ") == 5
    assert words.endswith(" · sdpa")


def test_an_adapter_is_told_with_its_rank(choice: Choice) -> None:
    """Full fine-tuning has none."""
    learning = changed(choice.plan.learning, finetuning_type=FinetuningType.DORA, lora_rank=16)
    assert settings_line(replace(choice.plan, learning=learning)).startswith("dora r=16 on ")


@pytest.mark.parametrize(
    ("verdict", "word"),
    [(Verdict.FITS, "✔ FITS"), (Verdict.TIGHT, "! TIGHT"), (Verdict.DOES_NOT_FIT, "✘ DOES NOT")],
)
def test_the_verdict_is_the_first_word(
    choice: Choice, verdict: Verdict, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The price is a line of its own, in the currency that it was given in."""
    cost = Cost(
        of="the full run", gpu_hours=8.0, price_per_hour=2.5, expected=20.0, lower=13.0, upper=27.0
    )
    print_verdict(Screen(), replace(choice.plan, verdict=verdict), cost)
    printed = capsys.readouterr().out
    assert printed.startswith(word)
    assert (
        "cost of the full run about 20.00 (95 %: 13.00 to 27.00): 8 GPU-hours at 2.50\n" in printed
    )


def with_parts(plan: Plan) -> Plan:
    """10 GiB of weights, and two parts too small for a line of their own."""
    parts = (("weights", 10 * GIB), ("states", GIB // 64), ("buffers", GIB // 64))
    memory = replace(
        plan.memory,
        process_bytes=Interval(expected=10 * GIB + GIB // 32, upper=11 * GIB),
        components=tuple(Component(name=name, bytes=size) for name, size in parts),
    )
    return replace(plan, memory=memory, free_bytes=20 * GIB)


def test_small_parts_of_memory_are_summed_up(
    choice: Choice, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe gets figures without bars; the parts and the rest are the whole."""
    print_memory(Screen(), with_parts(choice.plan))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:] if line.strip()]
    assert [" ".join(row) for row in rows] == [
        "weights 10.0",
        "other 0.03",
        "expected 10.0",
        "95 % upper bound 11.0",
        "free now 20.0",
    ]


@pytest.mark.parametrize(
    ("value", "words"), [(0.0034, "0.0034 s"), (1.26, "1.3 s"), (9.94, "9.9 s"), (12.6, "13 s")]
)
def test_seconds_have_two_digits(value: float, words: str) -> None:
    """From ten seconds on they are whole."""
    assert seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(1234.5, "1,234.50"), (0.01, "0.01"), (0.00123, "0.0012")]
)
def test_money_has_two_digits_that_count(value: float, words: str) -> None:
    """Less than a hundredth is not nothing."""
    assert money(value) == words
