"""Every reader of tsplanner under one form: damage a seed, write it, read it, judge the answer."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from benchmarks.reliability.fuzzing import seeds
from benchmarks.reliability.fuzzing.flags import drawn_words
from benchmarks.reliability.fuzzing.judge import (
    STATUSES,
    Absurd,
    check_interval,
    check_json,
    check_memory,
    check_seconds,
)
from benchmarks.reliability.fuzzing.mutate import (
    damaged_bytes,
    damaged_json,
    damaged_value,
    written,
)
from benchmarks.reliability.fuzzing.rows import RowFiles
from memory_models.estimate import estimate_memory
from memory_models.result import Interval
from tsplanner import runs
from tsplanner.exporters.registry import EXPORTERS
from tsplanner.models.source import read_model
from tsplanner.planner.files import read_plan
from tsplanner.planner.gather.cases import case_settings
from tsplanner.report.build_page import About, build_page
from tsplanner.report.messages.translate import Language
from tsplanner.report.records.read_runs import read_runs
from tsplanner.report.render.html import html
from tsplanner.report.render.markdown import markdown_page
from tsplanner.training.job import Job
from tsplanner.training.record import parse_record

SHARES = {
    "config": 0.2, "rows": 0.17, "plan": 0.12, "job and record": 0.12, "cases": 0.12,
    "machine": 0.08, "flags": 0.09, "journal": 0.05, "report": 0.05,
}  # fmt: skip
"""Share of the inputs that goes to each reader."""
SHAPES = frozenset(
    {"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
     "vocab_size", "num_experts", "num_local_experts", "max_position_embeddings", "num_layers", "patch_size"}
)  # fmt: skip
"""Keys of a config.json that figures depend on: damage elsewhere is seldom seen."""
METHODS: tuple[dict[str, object], ...] = ({}, {"finetuning_type": "full"}, {"quantization": "nf4"}, {"finetuning_type": "freeze"},
           {"world_size": 2, "zero_stage": 3}, {"gradient_checkpointing": False})  # fmt: skip
RIGS = ("RTX 3090", "8x H100 80GB", "2x RTX 2080 Ti 11GiB", "cpu")


@dataclass(frozen=True)
class Reader:
    """One reader: how an input is made, and how it is read and judged."""

    name: str
    make: Callable[[Random], bytes]
    read: Callable[[bytes], None]


def readers(folder: Path) -> list[Reader]:
    """All readers, each with a folder of its own under ``folder``."""
    plans = seeds.plans(folder)
    bench = Bench(folder, plans)
    rows = RowFiles(folder, bench.plan.architecture.encoder)
    return [
        Reader("config", bench.config_made, bench.config_read),
        Reader("rows", rows.made, rows.read),
        Reader("plan", bench.plan_made, bench.plan_read),
        Reader("job and record", bench.record_made, bench.record_read),
        Reader("cases", bench.cases_made, bench.cases_read),
        Reader("machine", bench.machine_made, bench.machine_read),
        Reader("flags", bench.flags_made, bench.flags_read),
        Reader("journal", bench.journal_made, bench.journal_read),
        Reader("report", bench.report_made, bench.report_read),
    ]


class Bench:
    """Seeds in memory and a scratch folder; an input's first byte may choose among ways to read it."""

    def __init__(self, folder: Path, plans: list[dict[str, object]]) -> None:
        self.folder, self.plans = folder, plans
        self.configs, self.machines = seeds.configs(), seeds.machines()
        self.plan = seeds.tiny_plan(folder)
        self.job, self.record = seeds.job(self.plan), seeds.record()
        self.journal = seeds.journal(folder / "search", self.plan)

    def config_made(self, chance: Random) -> bytes:
        """A way to read, then a damaged config.json."""
        among = SHAPES if chance.random() < 0.6 else None
        return bytes([chance.randrange(256)]) + damaged_json(
            chance.choice(self.configs), chance, among=among
        )

    def config_read(self, content: bytes) -> None:
        """Estimate with a replay; every fourth input is planned for as well."""
        way, folder = content[0], self.folder / "model"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_bytes(content[1:])
        architecture = read_model(str(folder)).architecture
        try:
            length = min(512, architecture.positions.max_position_embeddings)
            settings = case_settings({"sequence_length": length, **METHODS[way % len(METHODS)]})
            check_memory(estimate_memory(architecture, settings, replay=True))
        except ValueError:
            pass  # the verb makes a sentence of it
        if way % 4 == 0:
            self._planned(["--model", str(folder), "--gpus", RIGS[way // 4 % len(RIGS)]])

    def _planned(self, words: list[str]) -> None:
        """Plan, in words or as JSON."""
        out = io.StringIO()
        output = self.folder / "made.json"
        with redirect_stdout(out):
            status = seeds.answer(
                [
                    "plan",
                    *words,
                    "--output",
                    str(output),
                    "--saves",
                    str(self.folder / "s"),
                    "--json",
                ]
            )
        document = check_json(out.getvalue())
        if status not in STATUSES:
            raise Absurd(f"status {status}")
        if status == 0:
            check_plan(document["plan"])

    def plan_made(self, chance: Random) -> bytes:
        """A way to read, then a damaged plan.json."""
        return bytes([chance.randrange(256)]) + damaged_json(chance.choice(self.plans), chance)

    def plan_read(self, content: bytes) -> None:
        """Read, then export for one launcher or trainer, for one machine or for two."""
        path, name = self.folder / "read.json", list(EXPORTERS)[content[0] % len(EXPORTERS)]
        path.write_bytes(content[1:])
        read_plan(path)
        nodes = ["--nodes", "2"] if content[0] > 200 else []
        nodes += ["--weights", "somebody/model"] if EXPORTERS[name].trains else []
        words = [
            "--plan",
            str(path),
            "--saves",
            str(self.folder),
            "--output",
            str(self.folder / "out"),
        ]
        seeds.answer(["export", name, *words, *nodes, "--json"])

    def record_made(self, chance: Random) -> bytes:
        """``j`` or ``r``, then a damaged job.json or record.json."""
        if chance.random() < 0.4:
            return b"j" + damaged_json(self.job, chance)
        return b"r" + damaged_json(self.record, chance)

    def record_read(self, content: bytes) -> None:
        """Read the job as the worker does, and the record as everybody does."""
        try:
            if content[:1] == b"j":
                msgspec.json.decode(content[1:], type=Job)
            else:
                parse_record(content[1:])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass  # what every caller takes for a damaged file

    def cases_made(self, chance: Random) -> bytes:
        """Three lines of cases, of which some are damaged."""
        return b"\n".join(
            damaged_json(chance.choice(seeds.CASES), chance).replace(b"\n", b" ") for _ in range(3)
        )

    def cases_read(self, content: bytes) -> None:
        """``estimate --cases``: a document for every line."""
        path, out = self.folder / "cases.jsonl", io.StringIO()
        path.write_bytes(content)
        with redirect_stdout(out):
            seeds.answer(["estimate", "--cases", str(path)])
        wanted = sum(1 for line in content.decode(errors="replace").split("\n") if line.strip())
        lines = out.getvalue().splitlines()
        if len(lines) < wanted:
            raise Absurd(f"{len(lines)} answers for {wanted} lines")
        for line in lines:
            document = check_json(line)
            for key in ("process_bytes", "host_bytes"):
                if key in document:
                    check_interval(key, Interval(**document[key]))

    def machine_made(self, chance: Random) -> bytes:
        """A damaged machine file."""
        content = damaged_bytes(chance.choice(self.machines), chance)
        extra = (
            b"a: &x [1]\nb: [*x, *x]\n",
            b"2001-13-45: x\n",
            b"name: !!int x\n",
            b"disk_free_gib: 1e400\n",
            b"? [a]\n: b\n",
        )
        return content + b"\n" + chance.choice(extra) if chance.random() < 0.3 else content

    def machine_read(self, content: bytes) -> None:
        """Plan a small model for the machine."""
        path = self.folder / "machine.yaml"
        path.write_bytes(content)
        self._planned(["--model", "qwen2.5-0.5b", "--machine", str(path)])

    def flags_made(self, chance: Random) -> bytes:
        """The words of a verb, as a JSON list."""
        return json.dumps(drawn_words(chance, self.folder)).encode()

    def flags_read(self, content: bytes) -> None:
        """Call the verb."""
        words = json.loads(content)
        if words[0] == "tune":
            self._searched(words)
        else:
            seeds.answer(words)

    def _searched(self, words: list[str]) -> None:
        """Everything that ``tune`` does before it starts a process."""
        from unittest.mock import patch

        from tsplanner.cli import build_parser
        from tsplanner.commands import tune
        from tsplanner.tune.run_folder import find_start

        def begun(options: Any, *, as_json: bool = False) -> int:
            find_start(options, self.plan.machine)
            return 0

        with patch.object(tune, "run", begun):
            options = build_parser("tune").parse_args(words)
            options.call(options)

    def journal_made(self, chance: Random) -> bytes:
        """A journal with lines cut out, swapped or damaged."""
        lines = self.journal.splitlines(keepends=True)
        for _ in range(chance.choice((1, 1, 2))):
            place, kind = chance.randrange(len(lines)), chance.randrange(5)
            if kind <= 1:
                del lines[place]
            elif kind == 2:
                lines.insert(chance.randrange(len(lines)), lines[place])
            elif kind == 3:
                lines[place] = (
                    written(damaged_value(json.loads(lines[place]), chance), chance) + b"\n"
                )
            else:
                return damaged_bytes(b"".join(lines), chance)
        return b"".join(lines)

    def journal_read(self, content: bytes) -> None:
        """Open the search, lead it, read what it knows and take its next trial."""
        from tsplanner.tune.study.study import Study

        folder = self.folder / "study"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "study.journal").write_bytes(content)
        with Study(folder, self.plan, seeds.encoding(self.plan)) as study:
            study.access.patience = 0.0
            study.workers.lead()
            study.results()
            study.observations()
            study.busy_elsewhere()
            study.claim()
            study.workers.total(4, given=False)

    def report_made(self, chance: Random) -> bytes:
        """A damaged file of a run folder, behind its name and a line feed."""
        name = chance.choice(
            ("record.json", "plan.json", "metrics.jsonl", "tune.json", "eval_rows.json")
        )
        if name == "metrics.jsonl":
            lines = [
                written(damaged_value(line, chance) if chance.random() < 0.3 else line, chance)
                for line in seeds.METRICS
            ]
            return name.encode() + b"\n" + b"\n".join(lines)
        whole = {
            "record.json": self.record,
            "plan.json": self.plans[0],
            "tune.json": {"decision": {"sentence": "a sentence"}},
            "eval_rows.json": [[0.5, 10], [0.7, 10]],
        }
        return name.encode() + b"\n" + damaged_json(whole[name], chance)

    def report_read(self, content: bytes) -> None:
        """The page of one damaged run beside a whole one, in every form; the whole one stays."""
        saves = self.folder / "saves"
        shutil.rmtree(saves, ignore_errors=True)
        for number in ("1", "2"):
            run = saves / "m" / "lora" / number
            run.mkdir(parents=True)
            (run / "record.json").write_text(json.dumps(self.record))
            shutil.copy(self.folder / "plan-0.json", run / "plan.json")
            (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, seeds.METRICS)))
        name, _, damaged = content.partition(b"\n")
        (saves / "m" / "lora" / "1" / name.decode()).write_bytes(damaged)
        found = read_runs(saves)
        if not any(run.name.endswith("2") for run in found.runs):
            raise Absurd("one bad run hides the others")
        page = build_page(
            found.runs, About(saves=saves, when="now", version="1", left_out=found.left_out)
        )
        for language in Language:
            html(page, language)
            markdown_page(page, language)


def check_plan(plan: dict[str, dict[str, object]]) -> None:
    """Refuse a plan whose figures cannot be."""
    memory, time = plan["memory"], plan["time"]
    for key in ("process_bytes", "host_bytes"):
        check_interval(key, Interval(**memory[key]))  # type: ignore[arg-type]
    check_seconds("step", float(time["step_seconds"]))  # type: ignore[arg-type]
    check_seconds("run", float(time["total_seconds"]))  # type: ignore[arg-type]


runs.os.fsync = lambda _: None  # type: ignore[attr-defined]
