"""What every exporter keeps to, whatever the plan."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.sorts import HOSTILE, SORTS, named, on_gpus
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import ExportFile, ExportOptions, spread
from tsplanner.exporters.registry import EXPORTERS, render
from tsplanner.planner.plan import Plan

LAUNCH = re.compile(
    r"(?:torchrun|accelerate launch|llamafactory-cli train|axolotl train|trl sft) .*"
)
TRAINERS = ("llamafactory-cli", "axolotl", "trl")
LAUNCHERS = [name for name, found in EXPORTERS.items() if not found.trains]


def asked(nodes: int = 1, **options: object) -> ExportOptions:
    """Options that every exporter can work with."""
    return ExportOptions(nodes=nodes, weights="models/tiny", **options)  # type: ignore[arg-type]


def refusal(name: str, plan: Plan, nodes: int) -> str | None:
    """Why a plan cannot be started that way; None if it can."""
    try:
        render(name, plan, asked(nodes))
    except TsplannerError as error:
        return str(error)
    return None


EVERY = [(name, sort, nodes) for name in EXPORTERS for sort in SORTS for nodes in (1, 2)]
REFUSED = [case for case in EVERY if refusal(case[0], SORTS[case[1]], case[2])]
RENDERED = [case for case in EVERY if case not in REFUSED]
every_export = pytest.mark.parametrize(("name", "sort", "nodes"), RENDERED)


def rendered(name: str, sort: str, nodes: int) -> list[ExportFile]:
    """The files."""
    return render(name, SORTS[sort], asked(nodes))


def launch_line(files: list[ExportFile]) -> list[str]:
    """Words of the one line that starts ranks."""
    scripts = [file.text for file in files if not file.name.endswith((".py", ".txt"))]
    found = [
        line
        for text in scripts
        for line in LAUNCH.findall(text)
        if not text[: text.index(line)].endswith("# ")
    ]
    assert len(found) == 1, found
    return shlex.split(found[0])


def launched_ranks(files: list[ExportFile], nodes: int) -> int:
    """Ranks that the files start on all machines together."""
    words = launch_line(files)
    said = {file.name: file.text for file in files}
    if "accelerate.yaml" in said:
        return int(yaml.safe_load(said["accelerate.yaml"])["num_processes"])
    if words[0] == "llamafactory-cli":
        return nodes * int(said["train.sh"].split("NPROC_PER_NODE=")[1].split()[0])
    return (
        nodes * int(value(words, "--nproc-per-node"))
        if "--launcher python" not in " ".join(words)
        else 1
    )


def value(words: list[str], flag: str) -> str:
    """The word after a flag."""
    return words[words.index(flag) + 1]


def test_every_exporter_renders_most_sorts_of_plans() -> None:
    """Each of 15 sorts on one machine and on two: DeepSpeed takes the three that shard.

    Trainers of others need a dataset; TRL alone takes a CPU.
    """
    counts = {name: sum(case[0] == name for case in RENDERED) for name in EXPORTERS}
    # Two machines never take the CPU plan; a queue needs a length, a cloud one kind of card.
    assert counts == {
        "torchrun": 29,
        "accelerate": 29,
        "deepspeed": 6,
        "sbatch": 27,
        "skypilot": 27,
        "llamafactory": 26,
        "axolotl": 26,
        "trl": 27,
    }


@pytest.mark.parametrize(("name", "sort", "nodes"), REFUSED)
def test_what_is_refused_is_refused_in_one_sentence(name: str, sort: str, nodes: int) -> None:
    """With what to do instead."""
    sentence = refusal(name, SORTS[sort], nodes)
    assert sentence is not None
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert re.search(r"plan again|leave out", sentence)


@every_export
def test_an_export_keeps_the_effective_batch(name: str, sort: str, nodes: int) -> None:
    """Ranks that are launched x micro-batch x accumulation is what was planned."""
    plan, files = SORTS[sort], rendered(name, sort, nodes)
    ranks = launched_ranks(files, nodes)
    spread_out = spread(plan, nodes).hardware
    micro, accumulation = (
        spread_out.batch.micro_batch_size,
        spread_out.batch.gradient_accumulation_steps,
    )
    assert ranks == spread_out.sharding.world_size
    assert ranks * micro * accumulation == plan.learning.optimization.effective_batch_size


@every_export
def test_an_export_is_files_that_can_be_read_back(name: str, sort: str, nodes: int) -> None:
    """JSON and YAML parse, scripts pass bash, every file ends its last line."""
    for file in rendered(name, sort, nodes):
        assert file.text.endswith("\n")
        assert Path(file.name).name == file.name
        if file.name.endswith(".json"):
            assert json.loads(file.text)
        elif file.name.endswith(".yaml"):
            assert yaml.safe_load(file.text)
        elif file.name.endswith(".py"):
            compile(file.text, file.name, "exec")
        elif file.name != "requirements.txt":
            bash_reads(file.text)


def bash_reads(text: str) -> None:
    """Bash finds no syntax error."""
    done = subprocess.run(
        ["bash", "-n"], check=False, input=text, capture_output=True, text=True, timeout=10
    )
    assert done.returncode == 0, done.stderr


@every_export
def test_an_export_is_deterministic(name: str, sort: str, nodes: int) -> None:
    """The same plan gives the same bytes: no clock, no chance, no machine."""
    assert rendered(name, sort, nodes) == rendered(name, sort, nodes)


@every_export
def test_an_export_names_no_path_that_it_was_not_given(name: str, sort: str, nodes: int) -> None:
    """Files can be moved to another machine: only the plan's own paths are absolute."""
    plan = SORTS[sort]
    given = {plan.dataset.path, plan.model.path, plan.model.tokenizer} - {None}
    for file in rendered(name, sort, nodes):
        text = file.text.replace("#!/usr/bin/env bash", "")
        for path in sorted(map(str, given), key=len, reverse=True):
            text = text.replace(path, "")
        assert not re.findall(r"(?<![\w.}])/\w+", text)
        assert str(Path.home()) not in text


@every_export
def test_an_export_says_what_was_never_tried(name: str, sort: str, nodes: int) -> None:
    """More than two GPUs, or several machines, are planned by formula alone."""
    files = rendered(name, sort, nodes)
    commented = [file.text for file in files if not file.name.endswith((".json", ".py", ".txt"))]
    untried = nodes > 1 or SORTS[sort].hardware.sharding.world_size > 2
    for text in commented:
        assert ("# Planned by formula" in text) is untried


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("name", LAUNCHERS)
def test_words_of_a_command_reach_it_as_they_were_typed(name: str, nodes: int) -> None:
    """Spaces, quotes and dollars are the command's own business, not the shell's."""
    command = ("train me.py", "--name", HOSTILE.replace("\n", " "), "$HOME")
    options = ExportOptions(nodes=nodes, command=command, time_limit_seconds=60)
    plan = on_gpus(2, zero_stage=2)
    words = launch_line(render(name, plan, options))
    assert tuple(words[-4:]) == command


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_hostile_name_starts_nothing(name: str, tmp_path: Path) -> None:
    """A model may be called anything; its name is a comment or a plain word."""
    files = render(name, named(SORTS["ZeRO-3"], HOSTILE), asked())
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for stub in ("torchrun", "accelerate", "srun", "scontrol", "pip", *TRAINERS, "python3"):
        (stubs / stub).write_text("#!/bin/sh\necho a\n")
        (stubs / stub).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{stubs}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "a",
        "SKYPILOT_NODE_IPS": "a",
        "SKYPILOT_NODE_RANK": "0",
    }
    for file in files:
        script = tmp_path / file.name
        script.write_text(shell_part(file), encoding="utf-8")
        done = subprocess.run(
            ["bash", str(script)],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            timeout=10,
        )
        assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("owned"))


def shell_part(file: ExportFile) -> str:
    """What a shell would run of a file."""
    if file.name.endswith(".yaml"):
        content = yaml.safe_load(file.text)
        return f"{content.get('setup', '')}\n{content.get('run', '')}"
    return file.text if file.name.endswith((".sh", ".sbatch")) else ""


def test_exporters_import_no_training_library() -> None:
    """Writing a text file takes no torch."""
    program = (
        "import sys, tsplanner.exporters.registry\n"
        "print(sorted({'torch', 'transformers', 'accelerate', 'deepspeed'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
