"""Whole inputs of every kind, written by tsplanner itself or as its documents describe them."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from memory_models.settings import from_flat
from tsplanner.cli import build_parser
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.training.job import Job, JobKind, Status
from tsplanner.training.record import Evaluation, Record

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "configs" / "datasets" / "sample" / "sample.jsonl"
CASES: tuple[dict[str, Any], ...] = (
    {"model": "qwen2.5-0.5b"},
    {"model": "llama-3.2-1b", "sequence_length": 1024, "micro_batch_size": 2, "device": "RTX 3090"},
    {"model": "chatts-8b", "sequence_length": 512, "quantization": "nf4", "lora_rank": 16, "lora_target": ["q_proj"]},
    {"model": "gemma-3-1b", "finetuning_type": "full", "zero_stage": 3, "world_size": 4, "offload_optimizer": True},
    {"model": "qwen3-0.6b", "finetuning_type": "freeze", "freeze_trainable_layers": 2, "gradient_checkpointing": False},
    {"model": "pythia-160m", "finetuning_type": "adalora", "attention": "eager", "loss_kernel": "fused"},
)  # fmt: skip


def answer(words: list[str]) -> int:
    """Run one verb in this process; what it raises goes to the caller."""
    parser = build_parser(words[0])
    options = parser.parse_args(words)
    return int(options.call(options))


def configs() -> list[dict[str, Any]]:
    """Every config.json of the presets and of the measured shapes."""
    files = [
        *ROOT.glob("configs/models/*/config.json"),
        *ROOT.glob("benchmarks/data/cases/shapes/*.json"),
    ]
    return [json.loads(path.read_text()) for path in sorted(files)]


def machines() -> list[bytes]:
    """Every machine file that comes with tsplanner."""
    return [path.read_bytes() for path in sorted(ROOT.glob("configs/machines/*.yaml"))]


def plans(folder: Path) -> list[dict[str, Any]]:
    """Plans for a GPU, for several and for the CPU, as ``plan`` writes them."""
    asks = (
        ["--model", "tiny-chatts", "--cpu"],
        ["--model", "qwen2.5-0.5b", "--gpus", "RTX 3090", "--dataset", str(text_rows(folder))],
        ["--model", "qwen2.5-7b", "--gpus", "4x RTX 3090", "--dataset", str(text_rows(folder))],
        [
            "--model",
            "qwen2.5-14b",
            "--gpus",
            "2x RTX 3090",
            "--zero-stage",
            "3",
            "--dataset",
            str(text_rows(folder)),
        ],
    )
    found = []
    for number, words in enumerate(asks):
        path = folder / f"plan-{number}.json"
        with contextlib.redirect_stdout(io.StringIO()):
            answer(["plan", *words, "--saves", str(folder), "--output", str(path)])
        found.append(json.loads(path.read_text()))
    return found


def text_rows(folder: Path) -> Path:
    """A few alpaca rows."""
    path = folder / "rows.jsonl"
    lines = ({"instruction": f"what is {row}", "output": f"a number {row}"} for row in range(40))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


RECORD = from_flat(
    Record,
    status=Status.OK,
    kind=JobKind.TRAIN,
    device_name="Card X",
    steps=10,
    epochs=2.0,
    seconds=90.0,
    last_loss=0.18,
    mean_loss=0.473,
    process_bytes=17 * 2**30,
    samples_per_second=1.609,
    step_seconds=(9.0, 8.5, 8.4),
    start_eval_loss=2.0,
    evaluations=(Evaluation(epoch=1, step=5, loss=0.41), Evaluation(epoch=2, step=10, loss=0.44)),
    versions={"torch": "2.13.0"},
)
METRICS = [
    {"step": 0, "epoch": 0.0, "eval_loss": 2.0},
    {"step": 1, "epoch": 0.2, "loss": 2.1},
    {"step": 5, "epoch": 1.0, "eval_loss": 0.41},
    {"step": 10, "epoch": 2.0, "loss": 0.18},
    {"step": 10, "epoch": 2.0, "eval_loss": 0.44},
]


def job(plan: Plan) -> Any:
    """job.json of a plan, as plain values."""
    return json.loads(msgspec.json.encode(Job(kind=JobKind.TRAIN, plan=plan, folder="run")))


def record() -> Any:
    """record.json as plain values."""
    return json.loads(msgspec.json.encode(RECORD))


def journal(folder: Path, plan: Plan) -> bytes:
    """The journal of a search: trials that ended in every way, one at work, one that waits."""
    from tsplanner.tune.search.early_stopping import Deficit
    from tsplanner.tune.study.study import Result, Study
    from tsplanner.tune.study.trial_result import TrialState

    folder.mkdir(exist_ok=True)
    with Study(folder, plan, encoding(plan)) as study:
        study.workers.lead()
        study.workers.want(6)
        for state, loss in zip(
            (*TrialState, TrialState.COMPLETED), (1.0, 1.2, None, None, 0.9), strict=True
        ):
            proposal = study.ask()
            study.set_memory(proposal, -1)
            deficit = (
                Deficit(rival=0, difference=0.2, error=0.1) if state is TrialState.PRUNED else None
            )
            words = "" if state is TrialState.COMPLETED else "a sentence"
            study.tell(
                proposal,
                Result(
                    number=proposal.number, learning=proposal.learning, state=state,
                    eval_loss=loss, message=words, deficit=deficit,
                ),
            )  # fmt: skip
        study.ask()
        study.enqueue([(plan.learning, 77)])
    return (folder / "study.journal").read_bytes()


def encoding(plan: Plan) -> Any:
    """The space of the search in ``journal``."""
    from tsplanner.tune.search.encoding import encode_space
    from tsplanner.tune.search.space import Space

    space = Space(lora_ranks=(4, 8, 16), learning_rate=(1e-4, 1e-2), epochs=(1, 2, 3))
    return encode_space(plan.learning, space, 3e-3, lambda _: True)


def tiny_plan(folder: Path) -> Plan:
    """The plan of the embedded model, without its dataset's path."""
    found = read_plan(folder / "plan-0.json")
    return replace(found, dataset=replace(found.dataset, path=None))
