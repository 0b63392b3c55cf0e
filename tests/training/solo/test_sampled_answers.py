"""Answers to a few held-out rows after each evaluation, and nothing else of the run changes."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.support import chatts_plan, multi_lora, tiny, two_ranks  # noqa: E402
from tsplanner.planner.plan import Plan  # noqa: E402
from tsplanner.probe.runner import run_job  # noqa: E402
from tsplanner.training import answers  # noqa: E402
from tsplanner.training.batches import EncodedSample  # noqa: E402
from tsplanner.training.job import Extras, Job, JobKind, SampledAnswers, Status  # noqa: E402
from tsplanner.training.memory import Unmetered  # noqa: E402
from tsplanner.training.solo import sampled_answers  # noqa: E402
from tsplanner.training.solo.recorder import Recorder  # noqa: E402

ASKED = SampledAnswers(rows=2, new_tokens=8, room=1000)


def row(prompt: int, answer: int) -> EncodedSample:
    """A row of a prompt and an answer of so many tokens."""
    ids = list(range(prompt + answer))
    return EncodedSample(input_ids=ids, labels=[-100] * prompt + ids[prompt:])


def drawn(rows: list[EncodedSample], asked: SampledAnswers = ASKED, seed: int = 7) -> list[int]:
    """Numbers of the rows that are answered."""
    found = sampled_answers.samples(rows, asked, seed, lambda each: len(each.input_ids))
    return [sample.row for sample in found]


def test_the_seed_says_which_rows_are_answered() -> None:
    """The first two of a shuffled list, in the order of the dataset, counted from 1."""
    rows = [row(10, 3)] * 9
    order = list(range(9))
    random.Random(7).shuffle(order)
    assert drawn(rows) == sorted(place + 1 for place in order[:2]) == drawn(rows)
    assert len({tuple(drawn(rows, seed=seed)) for seed in range(5)}) > 1


def test_rows_without_the_room_or_without_an_answer_are_passed_over() -> None:
    """A prompt of 992 and 8 new tokens fill 1,000 positions; one of 993 is too long."""
    assert drawn([row(993, 3), row(992, 3), row(5, 0), row(0, 5)]) == [2]


def test_a_row_is_cut_before_its_last_answer() -> None:
    """What is expected are the tokens after the cut."""
    both = EncodedSample(input_ids=[1, 2, 3, 4, 5], labels=[-100, 2, -100, 4, 5])
    (found,) = sampled_answers.samples([both], ASKED, 0, lambda each: len(each.input_ids))
    assert (list(found.prompt.input_ids), found.expected) == ([1, 2, 3], (4, 5))


class Spoken:
    """Stands for an Answerer: says the tokens that it was given, or fails."""

    def __init__(self, *made: list[int]) -> None:
        self.made, self.asked = list(made), 0
        self.tokenizer: Any = Words()
        self.model: Any = torch.nn.Identity()
        self.model.generation_config = None

    def generated(self, prompt: Any, **_: Any) -> list[int]:
        """The next answer."""
        self.asked += 1
        if not self.made:
            raise ValueError("this model does not speak")
        return self.made.pop(0)


class Words:
    """A tokenizer of numbers, of which 9 ends."""

    eos_token_id, all_special_ids = 9, (9,)

    def decode(self, ids: Any, *, skip_special_tokens: bool = False) -> str:
        """The numbers as text."""
        return " ".join(str(each) for each in ids if not (skip_special_tokens and each == 9))


def told(folder: Path, answerer: Any) -> sampled_answers.AnswersSampled:
    """The callback of two rows, at the beginning of a run."""
    job = Job(kind=JobKind.TRAIN, plan=tiny.plan(folder), folder=str(folder))
    rows = [row(4, 2), row(5, 2)]
    found = sampled_answers.samples(rows, ASKED, 0, lambda each: len(each.input_ids))
    made = sampled_answers.AnswersSampled(
        found, ASKED, Recorder(job, Unmetered()), stop=lambda: False
    )
    made.answerer = answerer
    return made


def at(step: int) -> Any:
    """Trainer's state at a step."""
    from transformers import TrainerState

    return TrainerState(global_step=step)


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of answers.jsonl."""
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def test_every_answer_is_a_line_with_its_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One ended by itself, one was cut; the log has both in short."""
    callback = told(tmp_path, Spoken([1, 9], [3, 3]))
    callback.on_train_begin(None, at(0))
    callback.on_evaluate(None, at(5), None)  # type: ignore[arg-type]
    assert lines(tmp_path) == [
        {"step": 5, "row": 1, "prompt": "0 1 2 3", "expected": "4 5", "answer": "1"}
        | {"tokens": 2, "cut": False},
        {"step": 5, "row": 2, "prompt": "0 1 2 3 4", "expected": "5 6", "answer": "3 3"}
        | {"tokens": 2, "cut": True},
    ]
    log = capsys.readouterr().err.splitlines()
    assert log[0].startswith("Answers to held-out rows 1, 2 after each evaluation, up to 8 tokens")
    assert log[1] == "step 5, row 1: 1   (expected: 4 5)"


def test_a_resumed_run_answers_no_row_of_a_step_twice(tmp_path: Path) -> None:
    """Row 1 of step 5 was answered; the line of row 2 was torn as the process was killed."""
    (tmp_path / "answers.jsonl").write_text('{"step": 5, "row": 1}\n{"step": 5, "ro')
    callback = told(tmp_path, Spoken([1, 9], [2, 9], [3, 9]))
    callback.recorder.begin(5)
    callback.on_train_begin(None, at(5))
    callback.on_evaluate(None, at(5), None)  # type: ignore[arg-type]
    callback.on_evaluate(None, at(6), None)  # type: ignore[arg-type]
    assert [(line["step"], line["row"]) for line in lines(tmp_path)] == [
        (5, 1),
        (5, 2),
        (6, 1),
        (6, 2),
    ]


def test_answers_of_work_that_a_crash_lost_are_left_out(tmp_path: Path) -> None:
    """A run that goes on from step 4 makes those of step 5 anew; one that begins anew, all."""
    text = "".join(json.dumps({"step": step, "row": 1}) + "\n" for step in (0, 4, 5))
    (tmp_path / "answers.jsonl").write_text(text)
    callback = told(tmp_path, Spoken())
    callback.recorder.begin(4)
    assert [line["step"] for line in lines(tmp_path)] == [0, 4]
    callback.recorder.begin(0)
    assert not (tmp_path / "answers.jsonl").exists()


def test_a_model_that_cannot_answer_costs_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log says why, and it is not asked again."""
    spoken = Spoken()
    callback = told(tmp_path, spoken)
    for step in (1, 2):
        callback.on_evaluate(None, at(step), None)  # type: ignore[arg-type]
    assert spoken.asked == 1
    assert "No answers from here on: this model does not speak" in capsys.readouterr().err


def test_an_answer_that_is_not_whole_in_time_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So is one of a run that is to stop."""
    callback = told(tmp_path, Spoken([1, 9], [2, 9]))
    callback.stop = lambda: True
    callback.on_evaluate(None, at(3), None)  # type: ignore[arg-type]
    assert not (tmp_path / "answers.jsonl").exists()
    assert "step 3: time for 0 of 2 answers" in capsys.readouterr().err


def test_a_models_own_settings_do_not_bend_a_greedy_answer() -> None:
    """A penalty on words that came before would; it is back afterwards."""
    from transformers import GenerationConfig

    model: Any = torch.nn.Identity()
    own = model.generation_config = GenerationConfig(repetition_penalty=5.0)
    with answers.plainly(model):
        assert model.generation_config.repetition_penalty in (None, 1.0)
    assert model.generation_config is own


def trained(plan: Plan, folder: Path, *, asked: SampledAnswers | None, **job: Any) -> list[Any]:
    """The lines of metrics.jsonl of a full run."""
    extras = Extras(check_values=False, samples=asked)
    made = Job(kind=JobKind.TRAIN, plan=plan, folder=str(folder), threads=1, extras=extras, **job)
    record = multi_lora.run_here(made)
    assert record.status is Status.OK, record.message
    return multi_lora.lines_in(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"lora_dropout": 0.3, "neftune_noise_alpha": 5.0},
        {"token_budget": 128, "micro_batch_size": 1, "gradient_accumulation_steps": 4},
        {"gradient_checkpointing": True},
        {"decoder_kernels": "fused", "loss_kernel": "fused"},
        {"finetuning_type": "full"},
    ],
    ids=str,
)
def test_training_is_the_same_with_answers(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Every loss and norm to the last bit, with dropout, noise, packed rows and checkpoints.

    Two epochs of four steps: an evaluation before the first step and one after each epoch.
    """
    plan = tiny.with_learning(tiny.plan(tmp_path), validation_fraction=0.2)
    learned = {"lora_dropout", "neftune_noise_alpha", "finetuning_type"}
    plan = tiny.with_learning(plan, **{k: v for k, v in changes.items() if k in learned})
    plan = tiny.with_hardware(plan, **{k: v for k, v in changes.items() if k not in learned})
    without = trained(plan, tmp_path / "without", asked=None)
    assert trained(plan, tmp_path / "with", asked=ASKED) == without
    assert not (tmp_path / "without" / "answers.jsonl").exists()
    made = lines(tmp_path / "with")
    assert [line["step"] for line in made] == [0, 0, 4, 4, 8, 8]
    assert len({line["row"] for line in made}) == 2
    # As the training's template has it: the question of the row, and not its answer.
    assert all(line["prompt"] and line["expected"] not in line["prompt"] for line in made)
    assert [line["answer"] for line in made[:2]] != [line["answer"] for line in made[4:]]


@pytest.mark.slow
def test_rows_with_series_are_read_through_the_encoder(tmp_path: Path) -> None:
    """tiny-chatts as it is shipped says where a maximum is; its losses stay the same."""
    plan = chatts_plan.plan(tmp_path, validation_fraction=0.5)
    without = trained(plan, tmp_path / "without", asked=None)
    asked = replace(ASKED, new_tokens=16)
    assert trained(plan, tmp_path / "with", asked=asked) == without
    made = lines(tmp_path / "with")
    assert [line["step"] for line in made] == [0, 0, 1, 1, 2, 2]
    assert all("<ts><ts/>" in line["prompt"] for line in made)
    assert all(line["prompt"].endswith("<|im_start|>assistant\n") for line in made)
    assert made[0]["answer"].startswith("The highest value is at")
    assert not any(line["cut"] for line in made)


@pytest.mark.slow
def test_a_run_that_goes_on_has_each_answer_once(tmp_path: Path) -> None:
    """Stopped after the fourth of eight steps by its file, and resumed from its checkpoint."""
    plan = tiny.with_learning(tiny.plan(tmp_path), validation_fraction=0.2)
    trained(plan, tmp_path / "whole", asked=ASKED)
    folder = tmp_path / "again"
    half = tiny.with_learning(plan, num_train_epochs=1, lr_scheduler_type="constant")
    trained(half, folder, asked=ASKED)
    text = (folder / "answers.jsonl").read_text()
    (folder / "answers.jsonl").write_text(text + '{"step": 4, "row')
    trained(plan, folder, asked=ASKED, resume=True)
    places = [(line["step"], line["row"]) for line in lines(folder)]
    assert places == [(line["step"], line["row"]) for line in lines(tmp_path / "whole")]


@pytest.mark.slow
def test_of_two_processes_the_first_answers_and_the_other_waits(tmp_path: Path) -> None:
    """Losses of DDP on two CPUs are the same with and without, and each answer is there once."""
    plan = tiny.with_learning(two_ranks.plan(tmp_path), validation_fraction=0.2)
    found = {}
    for name, samples in (("without", None), ("with", ASKED)):
        extras = Extras(samples=samples)
        folder = str(tmp_path / name)
        job = Job(kind=JobKind.TRAIN, plan=plan, folder=folder, threads=1, extras=extras)
        record = run_job(job, time_limit_seconds=200)
        assert record.status is Status.OK, record.message
        found[name] = multi_lora.lines_in(tmp_path / name)
    assert found["with"] == found["without"]
    assert [line["step"] for line in lines(tmp_path / "with")] == [0, 0, 4, 4, 8, 8]
