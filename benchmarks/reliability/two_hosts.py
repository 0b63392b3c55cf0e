"""A run over two hosts, which two network namespaces of one machine stand for. Needs root and tc.

    sudo python benchmarks/reliability/two_hosts.py [--rates 20 100 1000] [--json FILE]

Each host is a namespace with one end of a virtual cable, whose rate tc limits (Mbit/s); torchrun
starts one worker in each, which meet at the first host's address. The model is the embedded default
on CPUs (gloo), so nothing of the link hides behind work. Printed for DDP and FSDP2: whether every
loss is that of one process, seconds per step, and what the formula says that the link adds.
Everything that was set up is taken down again, whatever happens.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memory_models.settings import changed
from memory_models.sharding.fully_sharded import gathered_bytes
from memory_models.states.optimizer import gradient_bytes
from tsplanner.planner.files import read_plan
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import training_settings
from tsplanner.probe.runner import prepare
from tsplanner.runs import read_json_lines, versions, write_json
from tsplanner.training.job import Job, JobKind

HOSTS = ("tsplanner-a", "tsplanner-b")
CABLES = ("tsp-a", "tsp-b")
ADDRESSES = ("10.201.77.1", "10.201.77.2")
PORT = 29617
STEPS = 6
BURST = "64kb"


def run(*words: str) -> None:
    """A command that must succeed."""
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def two_hosts() -> Iterator[None]:
    """Two namespaces, joined by a cable."""
    try:
        for host in HOSTS:
            run("ip", "netns", "add", host)
        run("ip", "link", "add", CABLES[0], "type", "veth", "peer", "name", CABLES[1])
        for host, cable, address in zip(HOSTS, CABLES, ADDRESSES, strict=True):
            run("ip", "link", "set", cable, "netns", host)
            for words in (
                ("addr", "add", f"{address}/24", "dev", cable),
                ("link", "set", cable, "up"),
                ("link", "set", "lo", "up"),
            ):
                run("ip", "-n", host, *words)
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)


def limit(rate: int) -> None:
    """Let each end of the cable send so many Mbit/s."""
    for host, cable in zip(HOSTS, CABLES, strict=True):
        words = ("root", "tbf", "rate", f"{rate}mbit", "burst", BURST, "latency", "200ms")
        run("tc", "-n", host, "qdisc", "replace", "dev", cable, *words)


def train(job: Job, folder: Path) -> dict[str, Any]:
    """Run a job on both hosts, or without torchrun where it has one process; its record."""
    job = replace(job, folder=str(folder))
    prepare(job)
    path = folder / "job.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    worker = ("-m", "tsplanner.training.worker", str(path))
    if job.plan.hardware.sharding.world_size == 1:
        commands = [[sys.executable, *worker]]
    else:
        launch = ("-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1")
        meet = ("--master-addr", ADDRESSES[0], "--master-port", str(PORT), "--max-restarts", "0")
        commands = [
            [
                "ip",
                "netns",
                "exec",
                host,
                "env",
                f"GLOO_SOCKET_IFNAME={cable}",
                sys.executable,
                *launch,
                *meet,
                "--node-rank",
                str(rank),
                *worker,
            ]
            for rank, (host, cable) in enumerate(zip(HOSTS, CABLES, strict=True))
        ]
    logs = [(folder / f"host-{number}.log").open("wb") for number in range(len(commands))]
    children = [
        subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        for command, log in zip(commands, logs, strict=True)
    ]
    try:
        statuses = [child.wait(timeout=600) for child in children]
    finally:
        for child, log in zip(children, logs, strict=True):
            child.kill()
            log.close()
    if any(statuses):
        tail = (folder / "host-0.log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"a host ended with status {statuses}: {tail}")
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return found


def link_seconds(plan: Plan, rate: int) -> float:
    """Seconds in which bytes cross one way of the link in a step, by the planner's formulas."""
    hardware = plan.hardware
    settings = training_settings(plan.learning, hardware, plan.dataset.longest_of(hardware.batch))
    # A ring of two sends half of the gradients twice.
    moved = float(gradient_bytes(plan.architecture, settings.states))
    if hardware.sharding.shards_base:
        passes = hardware.batch.gradient_accumulation_steps
        moved += passes * gathered_bytes(plan.architecture, settings.states)
    return moved / (rate * 1e6 / 8)


def embedded(folder: Path) -> Plan:
    """The plan of the embedded default for a CPU, as a person would make it."""
    words = ("plan", "--cpu", "--epochs", "1", "--effective-batch", "8", "--micro-batch-size", "1")
    output = folder / "plan.json"
    run(sys.executable, "-m", "tsplanner", *words, "--output", str(output))
    return read_plan(output)


def losses(folder: Path) -> list[float]:
    """Training losses of a run, step by step."""
    lines = read_json_lines(folder / "metrics.jsonl")
    return [float(str(line["loss"])) for line in lines if "loss" in line]


def main() -> None:
    """Print one line per way to share and rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=[20, 100, 1000])
    parser.add_argument("--only-times", action="store_true", help="leave the losses out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, two_hosts():
        folder = Path(name)
        plan = embedded(folder)
        accumulated = plan.hardware.batch.gradient_accumulation_steps
        half = {"world_size": 2, "gradient_accumulation_steps": accumulated // 2}
        shared = {
            kind: replace(plan, hardware=changed(plan.hardware, **half, fsdp=kind == "FSDP2"))
            for kind in ("DDP", "FSDP2")
        }
        if not options.only_times:
            rows += compared(plan, shared, max(options.rates), folder)
        for kind, each in shared.items():
            rows += timed(kind, each, options.rates, folder)
    if options.json:
        today = datetime.now(UTC).date().isoformat()
        write_json(options.json, {"date": today, "versions": versions(), "rows": rows})


def compared(
    plan: Plan, shared: dict[str, Plan], rate: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """The largest gap between the losses of two hosts and of one process."""
    limit(rate)
    trial = Job(kind=JobKind.TRIAL, plan=plan, folder="")
    train(trial, folder / "alone")
    expected = losses(folder / "alone")
    for kind, each in shared.items():
        train(replace(trial, plan=each), folder / kind)
        found = losses(folder / kind)
        gap = max(abs(one - other) for one, other in zip(found, expected, strict=True))
        print(f"{kind}: {len(expected)} losses within {gap:.1e} of one process's", flush=True)
        yield {"kind": kind, "steps": len(expected), "largest_gap": gap}


def timed(kind: str, plan: Plan, rates: Sequence[int], folder: Path) -> Iterator[dict[str, Any]]:
    """Seconds of a step at each rate; what the link adds is measured against the fastest."""
    passes = plan.hardware.batch.gradient_accumulation_steps
    measured: dict[int, float] = {}
    for rate in sorted(rates, reverse=True):
        limit(rate)
        probe = Job(
            kind=JobKind.PROBE, plan=plan, folder="", probe_steps=STEPS, probe_micro_batches=passes
        )
        record = train(probe, folder / f"{kind}-{rate}")
        measured[rate] = statistics.median(record["timing"]["step_seconds"][2:])
        fastest = max(measured)
        added = measured[rate] - measured[fastest]
        foretold = link_seconds(plan, rate) - link_seconds(plan, fastest)
        print(
            f"{kind}, {rate} Mbit/s: {measured[rate]:.2f} s per step; the link adds {added:.2f} s "
            f"to the fastest, by formula {foretold:.2f} s",
            flush=True,
        )
        yield {"kind": kind, "mbit": rate, "seconds": measured[rate], "foretold_added": foretold}


if __name__ == "__main__":
    main()
