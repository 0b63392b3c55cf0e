"""The comparison with other estimators: what each is given, and how errors are counted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.accuracy.memory import Row
from benchmarks.accuracy.published_rows import Memory, Published
from benchmarks.rivals.calls.table import RIVALS
from benchmarks.rivals.compare import ask, spread, table
from benchmarks.rivals.published import Asked
from benchmarks.rivals.view import view
from tsplanner.planner.gather.cases import read_case


def measured(**given: object) -> Row:
    """A case of qwen2.5-7b as accuracy.py would read it; the bytes do not matter here."""
    case = {"model": "qwen2.5-7b", **given}
    return Row(
        given=case,
        case=read_case(case, {}),
        family="qwen2",
        recipe="",
        allocated=1,
        reserved=1,
        process=1,
        formula=1,
        replayed=1,
        scale=1,
    )


def test_view_of_the_default_case_tells_rivals_a_half_precision_lora_on_all_linears() -> None:
    """A rival is told the exact parameter count, the recipe and every module LoRA is put on."""
    case = view(measured())
    assert case["recipe"] == "lora/half"
    assert case["parameters"] == 7_615_616_512
    assert case["scope"] == "all-linear"
    assert len(case["targets"]) == 7
    assert case["config"]["tie_word_embeddings"] is False


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        ({"quantization": "nf4-dq"}, "qlora/half"),
        ({"quantization": "int8"}, "int8/half"),
        ({"finetuning_type": "rslora"}, "lora/half"),
        ({"finetuning_type": "full", "model_dtype": "fp32"}, "full/mixed"),
        ({"finetuning_type": "full", "model_dtype": "fp32", "autocast": None}, "full/fp32"),
        ({"finetuning_type": "dora", "quantization": "nf4"}, "dora on a quantised base/half"),
    ],
)
def test_view_names_the_recipe(given: dict[str, object], recipe: str) -> None:
    """Rivals are chosen by what is trained and in which precision."""
    assert view(measured(**given))["recipe"] == recipe


@pytest.mark.parametrize(
    ("rival", "given", "key"),
    [
        ("vramcalc", {}, "scope"),
        ("vramcalc", {"lora_target": ["q_proj", "k_proj", "v_proj", "o_proj"]}, None),
        ("vramcalc-nearest", {}, None),
        ("fitcheck-llm", {"loss_kernel": "fused"}, "loss_kernel"),
        ("fitcheck-llm", {"finetuning_type": "full"}, "recipe"),
        ("soup-cli", {"loss_kernel": "fused"}, None),
        ("ftuneai", {"zero_stage": 2, "world_size": 2}, None),
        ("fitcheck-llm", {"zero_stage": 2, "world_size": 2}, "sharding"),
        ("fitcheck-llm", {"model": "chatts-8b"}, "encoder"),
    ],
)
def test_a_case_that_a_rival_cannot_express_is_left_out(
    rival: str, given: dict[str, object], key: str | None
) -> None:
    """No rival is judged on a case that departs from what it can be told."""
    assert RIVALS[rival].leaves_out(view(measured(**given))) == key


def test_spread_keeps_the_sign_of_the_worst_and_counts_low_estimates() -> None:
    """Errors are absolute, but which way the worst missed and how many were low is kept."""
    figures = spread([0.01, -0.03, -0.10, 0.02])
    assert figures is not None
    assert figures["median"] == 2.5
    assert figures["mean"] == 4.0
    assert figures["worst"] == -10.0
    assert figures["low_share"] == 50.0


def test_table_leaves_the_process_columns_empty_for_a_rival_without_that_number() -> None:
    """Each line has the columns of the heading, whatever a rival predicts."""
    errors = spread([0.01, 0.02])
    some = {"allocated": errors, "process": None}
    line = {**some, "cases": 2, "version": "1", "seconds_a_case": 0.001, "ours": some}
    report = {"cases": 3, "seconds_a_case": 0.001, "rivals": {"x": line}, "ours": some}
    lines = table(report).splitlines()
    assert {text.count("|") for text in lines} == {11}
    assert lines[2].endswith("| - | - | - | 1.00 |")


def test_a_rival_that_is_not_installed_is_an_error_and_no_refusal() -> None:
    """A broken environment ends the run, it does not read as a rival that refuses every case."""
    with pytest.raises(SystemExit, match="fitcheck-llm failed"):
        ask("fitcheck-llm", Path(sys.executable), [])


def test_a_rival_is_judged_of_reserved_bytes_by_its_nearer_figure() -> None:
    """No rival means reserved bytes by either; what it does not predict is no error of it."""
    given = {"model": "qwen2.5-7b"}
    asked = Asked(
        given=given,
        case=read_case(given, {}),
        row=Published(
            source="here",
            trainer="trl",
            gpu="T4",
            case=given,
            memory=(Memory(instrument="reserved", bytes=100),),
            time=None,
            ran=True,
            stated=True,
        ),
        card_gib=15.0,
        bare=0.0,
        habits=0.0,
    )
    assert asked.error_of({"allocated": 60, "process": 110}) == pytest.approx(0.1)
    assert asked.error_of({"allocated": 60, "process": None}) == pytest.approx(-0.4)
    with pytest.raises(LookupError):
        asked.error_of({"allocated": None, "process": None})
    assert view(asked, "T4", 15.0)["card_gib"] == 15.0
