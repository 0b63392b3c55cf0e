"""Rules: each refuses what cannot run, by name, and lets the rest pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    Quantization,
    changed,
    from_flat,
)
from tests.support.passed_settings import PASSED
from tests.support.refused_settings import FLASH, REFUSED, Row
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.explain.sentences import refusal_sentence
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.rules import (
    RULES,
    asked_for,
    deciding,
    refusal,
    without_rows,
)


def detected(made: PlanRequest) -> PlanRequest:
    """The request for a machine that was looked at, with the packages that were found there."""
    return replace(made, machine=replace(made.machine, detected=True))


def asked(row: Row) -> tuple[PlanRequest, HardwareSettings]:
    """The request and the candidate of a row."""
    made = request(
        row.model,
        *row.devices,
        packages=row.packages,
        pins=row.pins,
        finetuning_type=row.method,
        lora_target=row.targets,
    )
    if row.eager_only:
        attention = replace(made.architecture.attention, eager_only=True)
        made = replace(made, architecture=replace(made.architecture, attention=attention))
    made = replace(made, model=replace(made.model, trust_remote_code=row.remote))
    if row.family is not None:
        made = replace(made, model=replace(made.model, model_type=row.family))
    made = detected(made) if row.detected else made
    return made, from_flat(HardwareSettings, **row.hardware)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.rule)
def test_a_rule_refuses_by_its_name_with_a_reason(row: Row) -> None:
    """The first rule that says no is named, and says what is needed."""
    found = refusal(*asked(row))
    assert found is not None
    assert found.rule == row.rule
    assert row.says in refusal_sentence(found)


@pytest.mark.parametrize("row", PASSED, ids=lambda row: row.rule)
def test_a_rule_lets_pass_what_can_run(row: Row) -> None:
    """What the rule is not about, no rule refuses."""
    assert refusal(*asked(row)) is None


@pytest.mark.parametrize("row", [*REFUSED, *PASSED], ids=lambda row: row.rule)
def test_the_rows_of_a_pass_change_no_refusal(row: Row) -> None:
    """So the planner asks the rules once for all candidates that differ in them alone."""
    made, hardware = asked(row)
    other = changed(hardware, gradient_accumulation_steps=2 * 7)
    assert without_rows(other) == without_rows(hardware)
    one, two = refusal(made, hardware), refusal(made, other)
    assert (one and (one.rule, one.data)) == (two and (two.rule, two.data))


def test_every_rule_is_tested_both_ways() -> None:
    """A new rule comes with a row that it refuses and one that passes."""
    assert {row.rule for row in REFUSED} == {rule.name for rule in RULES}
    assert {row.rule for row in PASSED} == {rule.name for rule in RULES}


def test_what_closes_every_branch_is_decisive() -> None:
    """Half of the candidates are of no use by another rule, and all of them shard int8 weights."""
    made = request(
        "qwen2.5-0.5b",
        *[HOPPER] * 4,
        pins=Pins(quantization=Quantization.INT8, zero_stage=3),
    )
    assert [found.rule for found in deciding(made, candidates(made))] == ["quantized-sharding"]


def test_where_nothing_closes_every_branch_each_refusal_is_kept() -> None:
    """One half lacks one package, the other half another one."""
    made = detected(request("qwen2.5-0.5b", HOPPER, packages=()))
    branches = [
        from_flat(HardwareSettings, attention=FLASH),
        from_flat(HardwareSettings, quantization=Quantization.NF4),
    ]
    rules = [found.rule for found in deciding(made, branches)]
    assert rules == ["flash-attention-package", "bitsandbytes"]
    assert deciding(made, []) == ()


def test_a_person_reads_the_refusals_of_what_was_asked_for() -> None:
    """Nobody asked for 4 bits or FlashAttention; where nothing fits a missing package matters."""
    open_request = detected(request("qwen2.5-0.5b", HOPPER, packages=()))
    branches = [
        from_flat(HardwareSettings, attention=FLASH),
        from_flat(HardwareSettings, quantization=Quantization.NF4),
    ]
    refusals = deciding(open_request, branches)
    assert asked_for(open_request, refusals) == []
    packages = asked_for(open_request, refusals, packages=True)
    assert [found.rule for found in packages] == ["bitsandbytes"]
    pinned = replace(open_request, pins=Pins(attention=FLASH))
    assert [found.rule for found in asked_for(pinned, refusals)] == ["flash-attention-package"]
