"""Damaged inputs for every reader: no traceback, no answer over two seconds, no absurd figure.

    python benchmarks/reliability/fuzz.py [--inputs 20000] [--seed 1] [--only READER] [--keep FOLDER]

Seeds are the configs, machine files, rows and plans of this repository. Each is damaged as a crash, an
editor or a hostile person would damage it, and read in this process as its verb reads it, with
``os.fsync`` off and under an alarm. Prints a table by reader, then each place that answered wrongly
with its smallest input; ends with 1 if there is one. ``--keep`` writes these inputs to a folder.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

from benchmarks.reliability.fuzzing.judge import Fault, judged, trace_of
from benchmarks.reliability.fuzzing.readers import SHARES, Reader, readers

MOST_MEMORY = 6 * 2**30
"""Address space: an input that takes more ends in MemoryError."""
KINDS = ("refused", "traceback", "slow", "absurd", "message")


def main() -> int:
    """All readers, a line each, then what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="READER", help="one of: " + ", ".join(SHARES))
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    os.environ |= {"HF_HUB_OFFLINE": "1"}
    faults: dict[tuple[str, str, str], list[Fault]] = defaultdict(list)
    table = [
        f"{'reader':<16}{'inputs':>8}{''.join(f'{kind:>11}' for kind in KINDS)}{'slowest':>10}{'seconds':>9}"
    ]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        os.environ["TSPLANNER_STATE"] = f"{scratch}/state"
        for reader in readers(Path(scratch)):
            if options.only in (None, reader.name):
                share = 1.0 if options.only else SHARES[reader.name]
                table.append(tried(reader, round(share * options.inputs), options.seed, faults))
                print(table[-1], flush=True)
        shown(faults, options.keep, {each.name: each for each in readers(Path(scratch))})
    print("\n".join(table))
    return 1 if faults else 0


def tried(
    reader: Reader, inputs: int, seed: int, faults: dict[tuple[str, str, str], list[Fault]]
) -> str:
    """Read damaged inputs and note the faults; a line of the table."""
    chance, counts, slowest, began = (
        Random(f"{seed} {reader.name}"),
        Counter[str](),
        0.0,
        time.perf_counter(),
    )
    for _ in range(inputs):
        verdict = judged(reader.read, reader.make(chance))
        slowest, fault = max(slowest, verdict.seconds), verdict.fault
        counts["refused"] += verdict.refused and fault is None
        if fault is not None:
            counts[fault.kind] += 1
            faults[reader.name, fault.kind, fault.place].append(fault)
    columns = "".join(f"{counts[kind]:>11}" for kind in KINDS)
    return (
        f"{reader.name:<16}{inputs:>8}{columns}{slowest:>9.2f}s{time.perf_counter() - began:>9.0f}"
    )


def shown(
    faults: dict[tuple[str, str, str], list[Fault]], keep: Path | None, by_name: dict[str, Reader]
) -> None:
    """Each place that answered wrongly, the most frequent first, with its smallest input."""
    for number, ((name, kind, place), found) in enumerate(
        sorted(faults.items(), key=lambda item: -len(item[1]))
    ):
        smallest = min(found, key=lambda fault: len(fault.content)).content
        print(f"{len(found):>5} {name}: {kind}: {place}\n      {smallest[:160]!r}")
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{number}.input").write_bytes(smallest)
            if kind in ("traceback", "slow"):
                (keep / f"{number}.trace").write_text(
                    f"{name}: {kind}: {place}\n{trace_of(by_name[name].read, smallest)}"
                )


if __name__ == "__main__":
    sys.exit(main())
