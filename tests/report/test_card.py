"""The model card beside trained weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from memory_models.settings import FinetuningType, Quantization, changed
from tests.support import tiny
from tests.support.hand_made import RECORD
from tsplanner.planner.plan import Plan
from tsplanner.report.card import HEADER, card, licence_of, write_card
from tsplanner.report.serving import Place, place_in
from tsplanner.training.record import ValuesChecked

RUN = Path("saves/tiny/lora/1")


def text_of(plan: Plan, name: str = "adapter", **more: object) -> str:
    """The card of a run of the plan."""
    return card(plan, replace(RECORD, **more), place_in(plan, RUN, name))


def cell(text: str, name: str) -> str:
    """What the card's tables say under a name."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return line.removeprefix(f"| {name} | ").removesuffix(" |")


def test_a_card_says_what_from_what_how_and_what_came_of_it(tmp_path: Path) -> None:
    """20 rows, two of them held out; figures of the record as a report has them."""
    text = text_of(tiny.plan(tmp_path))
    assert "# tiny, lora on rows\n" in text
    assert "An adapter of 3,000 parameters for a base of 38,000" in text
    assert cell(text, "rows") == "20, of which 20 could be used"
    assert cell(text, "trained on / held out") == "18 / 2"
    assert cell(text, "rank / alpha / dropout") == "4 / 8 / 0"
    assert cell(text, "planned") == "10 steps, 2 epochs"
    assert cell(text, "held out, best") == "0.4100 after step 5 (these weights)"
    assert cell(text, "held out, last") == "0.4400"
    assert cell(text, "memory") == "17.0 GiB at the peak, 0.59 GiB predicted"
    assert "```python\nimport torch\n" in text
    # What is not given stands at its default and is not listed.
    assert "| weight_decay |" not in text


def test_no_folder_of_this_machine_is_in_a_card(tmp_path: Path) -> None:
    """Neither the base's, nor the dataset's, nor the run's."""
    text = text_of(tiny.plan(tmp_path))
    assert str(tmp_path) not in text
    assert "saves/" not in text
    assert "/" not in yaml.safe_load(header(text))["base_model"]


def header(text: str) -> str:
    """What a hub reads."""
    found = HEADER.match(text)
    assert found is not None
    return found.group(1)


def test_the_hub_reads_base_library_and_licence(tmp_path: Path) -> None:
    """The licence only where the base's own card names one."""
    plan = tiny.plan(tmp_path)
    told = yaml.safe_load(header(text_of(plan)))
    assert told == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "base_model": "tiny",
        "tags": ["tsplanner", "lora"],
    }
    assert "look it up" in cell(text_of(plan), "licence of the base")
    base = Path(str(plan.model.path))
    (base / "LICENSE").write_text("words")
    assert cell(text_of(plan), "licence of the base") == "see the licence file in its folder"
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    assert yaml.safe_load(header(text_of(plan)))["license"] == "apache-2.0"
    assert cell(text_of(plan), "licence of the base") == "apache-2.0"


@pytest.mark.parametrize(
    "text", ["no header", "---\nlicense: [a]\n---\n", "---\n: {\n---\n", "---\n- a\n---\n"]
)
def test_a_base_without_a_readable_licence_has_none(tmp_path: Path, text: str) -> None:
    """Whatever stands in its card."""
    assert licence_of(None) is None
    assert licence_of(str(tmp_path)) is None
    (tmp_path / "README.md").write_text(text)
    assert licence_of(str(tmp_path)) is None


def test_what_was_given_and_what_happened_stand_in_the_tables(tmp_path: Path) -> None:
    """Noise, an early end, answers that were checked, a rounded base, several GPUs."""
    plan = tiny.with_learning(tiny.plan(tmp_path), neftune_noise_alpha=5.0, max_steps=8)
    plan = tiny.with_hardware(plan, quantization=Quantization.FP8, world_size=2, zero_stage=2)
    losses = replace(RECORD.losses, values=ValuesChecked(answers=3, right=2))
    text = text_of(plan, message="ended early: no lower loss", losses=losses)
    assert cell(text, "neftune_noise_alpha") == "5.0"
    assert cell(text, "max_steps") == "8"
    assert cell(text, "end") == "ended early: no lower loss"
    assert cell(text, "values checked") == "right in 2 of 3 answers"
    assert cell(text, "as it was trained on") == "fp32, rounded to fp8"
    assert cell(text, "hardware").startswith("2 x ")
    assert cell(text, "sharding") == "ZeRO-2"
    assert "`tsplanner merge` keeps the rounded values" in text


def test_weights_of_the_last_step_do_not_claim_to_be_the_best(tmp_path: Path) -> None:
    """They have a card of their own."""
    text = text_of(tiny.plan(tmp_path), "adapter-last")
    assert cell(text, "held out, best") == "0.4100 after step 5"
    assert cell(text, "held out, last") == "0.4400 (these weights)"


def test_random_weights_and_whole_models_say_what_they_are(tmp_path: Path) -> None:
    """A bar in a table breaks no table."""
    plan = tiny.plan(tmp_path)
    drawn = replace(plan, model=replace(plan.model, has_weights=False, name="a|b"))
    text = text_of(drawn)
    assert "**RANDOM WEIGHTS: there are no weights beside config.json." in text
    assert cell(text, "base") == "a\\|b (qwen2)"
    full = tiny.with_learning(plan, finetuning_type=FinetuningType.FULL)
    text = text_of(full, "model")
    assert "A model of 38,000 parameters, of which 3,000 were trained" in text
    assert yaml.safe_load(header(text))["library_name"] == "transformers"
    merged = card(plan, RECORD, Place(weights="m", base="b", merged=True), "Checked: well.")
    assert "# tiny, lora on rows, merged\n" in merged
    assert "merged into them, made with tsplanner" in merged
    assert "Checked: well." in merged


def test_the_card_is_a_file_beside_the_weights(tmp_path: Path) -> None:
    """Named as hubs look for it."""
    plan = tiny.plan(tmp_path)
    record = changed(RECORD, start_eval_loss=None)
    path = write_card(plan, record, tmp_path, place_in(plan, tmp_path, "adapter"))
    assert path == tmp_path / "README.md"
    assert cell(path.read_text(), "held out, before") == "-"
