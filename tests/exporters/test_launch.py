"""What every launcher is told of a plan: machines, processes, cards."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from memory_models.settings import changed
from tests.support.exports import only
from tests.support.sorts import cpu, on_gpus, second_card
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import (
    ExportOptions,
    comments,
    header,
    no_notes,
    one_line,
    processes_per_node,
    script,
    spread,
)


@pytest.mark.parametrize(
    ("ranks", "micro", "nodes", "expected"),
    [
        # 32 = 1 rank x 2 x 16: two machines halve the accumulation
        (1, 2, 2, (2, 2, 8)),
        # 32 = 8 ranks x 4 x 1: on four machines a rank has one row left
        (8, 4, 4, (32, 1, 1)),
        # 32 = 4 ranks x 8 x 1: two machines leave 4 rows a rank
        (4, 8, 2, (8, 4, 1)),
    ],
)
def test_machines_share_the_effective_batch(
    ranks: int, micro: int, nodes: int, expected: tuple[int, int, int]
) -> None:
    """Accumulation shrinks first, then the micro-batch; the product stays 32."""
    hardware = spread(on_gpus(ranks, micro_batch_size=micro), nodes).hardware
    assert (
        hardware.sharding.world_size,
        hardware.batch.micro_batch_size,
        hardware.batch.gradient_accumulation_steps,
    ) == expected


@pytest.mark.parametrize(("ranks", "nodes"), [(1, 3), (8, 8)])
def test_machines_that_cannot_share_the_batch_are_refused(ranks: int, nodes: int) -> None:
    """32 rows cannot be shared by 3 processes, nor by 64."""
    with pytest.raises(TsplannerError, match=rf"cannot be shared by {ranks * nodes} processes"):
        spread(on_gpus(ranks), nodes)


def test_a_plan_for_the_cpu_stays_on_one_machine() -> None:
    """It runs in one process."""
    with pytest.raises(TsplannerError, match="leave out --nodes"):
        spread(cpu(), 2)


@pytest.mark.parametrize(("chosen", "seen"), [(None, "1"), ("5", "5")])
@pytest.mark.parametrize(
    ("name", "file"), [("torchrun", "run.sh"), ("accelerate", "accelerate.sh")]
)
def test_only_the_plans_cards_are_seen(
    name: str, file: str, chosen: str | None, seen: str, tmp_path: Path
) -> None:
    """Unless the caller chose others; Slurm and clouds hand cards out themselves."""
    text = re.sub(r"exec .*", 'echo "$CUDA_VISIBLE_DEVICES"', only(name, second_card(), file))
    (tmp_path / file).write_text(text, encoding="utf-8")
    environment = {key: each for key, each in os.environ.items() if "CUDA" not in key}
    if chosen is not None:
        environment["CUDA_VISIBLE_DEVICES"] = chosen
    done = subprocess.run(
        ["bash", str(tmp_path / file)], check=True, env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"{seen}\n"
    assert "CUDA_VISIBLE_DEVICES" not in only(name, on_gpus(2), file)


def test_a_card_of_this_machine_is_named_by_its_own_number() -> None:
    """Another order of devices cannot mislead it; on several machines positions count."""
    plan = second_card()
    devices = tuple(
        replace(device, uuid=f"GPU-{place}") for place, device in enumerate(plan.machine.devices)
    )
    here = replace(plan, machine=replace(plan.machine, devices=devices))
    assert "planned=GPU-1\n" in only("torchrun", here, "run.sh")
    assert "planned=1\n" in only("torchrun", here, "run.sh", nodes=2)


def test_a_header_says_what_runs_and_what_was_never_tried() -> None:
    """Two GPUs were tried; more, or several machines, were not."""
    plan = on_gpus(2)
    tried = header(plan, ExportOptions())
    assert tried[1] == "micro-batch 2 x accumulation 8 x 2 processes = effective batch 32"
    assert not any(line.startswith("Planned by formula") for line in tried)
    for untried in (header(on_gpus(4), ExportOptions()), header(plan, ExportOptions(nodes=2))):
        assert any(line.startswith("Planned by formula") for line in untried)


@given(lines=st.lists(st.text(max_size=30), max_size=5))
def test_comments_hold_every_line_of_theirs(lines: list[str]) -> None:
    """No line break in a name can end a comment and start a command."""
    text = comments(one_line(lines))
    assert text.count("\n") == len(lines)
    assert all(line.startswith("# ") for line in text.split("\n")[:-1])


@given(nodes=st.integers(1, 8), gpus=st.sampled_from([1, 2, 4]))
def test_every_machine_starts_the_same_number_of_processes(nodes: int, gpus: int) -> None:
    """World size over machines, whatever the number of machines."""
    assume(32 % (nodes * gpus) == 0)
    plan = spread(on_gpus(gpus), nodes)
    assert processes_per_node(plan, ExportOptions(nodes=nodes)) == gpus


def test_a_script_stops_at_the_first_error_and_runs_in_its_own_folder() -> None:
    """The body comes last."""
    text = script(cpu(), ExportOptions(), "exec true\n")
    assert text.startswith("#!/usr/bin/env bash\n# tsplanner ")
    assert text.endswith(
        'set -euo pipefail\ncd -- "$(dirname -- "${BASH_SOURCE[0]}")"\nexec true\n'
    )
    assert no_notes(cpu(), ExportOptions()) == []


def test_a_large_micro_batch_is_shared_in_no_time() -> None:
    """The largest divisor of the share is looked for by divisors, not one by one."""
    plan = on_gpus(1)
    hardware = changed(plan.hardware, micro_batch_size=2**24, gradient_accumulation_steps=1)
    plan = replace(plan, hardware=hardware)
    assert spread(plan, 2).hardware.batch.micro_batch_size == 2**23


def test_a_plan_for_several_machines_is_exported_for_as_many() -> None:
    """Nothing of it changes; on another number of machines the batch is shared anew."""
    planned = spread(on_gpus(2), 2)
    assert spread(planned, 2) is planned
    alone = spread(planned, 1).hardware
    assert (alone.sharding.world_size, alone.sharding.nodes) == (2, 1)
    assert alone.effective_batch_size == 32
    assert spread(planned, 1).assumptions[-1] == "planned for 2 machines, started on 1"
