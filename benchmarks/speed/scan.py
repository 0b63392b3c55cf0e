"""How fast ``tsplanner plan`` reads a large ChatTS dataset, and with how much memory.

python benchmarks/speed/scan.py --folder /tmp/scan [--gigabytes 1] [--repeats 3]

Writes the dataset once (deterministic; the folder is yours to delete) and plans with it, forgetting
what was counted before. Memory is the sum of the resident pages of the whole process tree, looked
at every 20 ms, so pages that processes share count once for each of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.speed.watched_plan import cpu_seconds, watched_plan

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "configs" / "models" / "tiny-chatts"
COUNTED_BY = {"estimate": [], "tokenizer": ["--tokenizer", str(TOKENIZER)]}
"""How the text's tokens are counted, and the flags that ask for it."""
SERIES_POOL = 512
METRICS = ("CPU load", "queue depth", "request latency", "disk reads", "heap in use", "error rate")
QUESTION = (
    "Describe how the metrics behave before and after the deployment, name those that change "
    "together, and say which of them moved first. Then judge whether the change is a level shift, "
    "a trend or a single spike, and give the approximate position of every point that stands out."
)
ANSWER = (
    "The load rises steadily through the first third and then stays level, while the latency shows "
    "one clear spike of about {0:.2f} near point {1}. The error rate follows it a few points later "
    "and returns to its usual level, so the two belong together; the other metrics move within "
    "their daily range. The change is a level shift and no trend: the means before and after the "
    "deployment differ by {2:.3f}, and the spread stays as it was. "
)


def main() -> None:
    """Write the dataset if it is not there, scan it, print speed and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the dataset is kept")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="10^9 bytes [1]")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    size = int(options.gigabytes * 1e9)
    path = options.folder / f"scan-{size}.jsonl"
    if not path.is_file():
        write_dataset(path, size)
    print(f"{path.name}: {path.stat().st_size / 1e6:,.0f} MB", flush=True)
    for counted_by, flags in COUNTED_BY.items():
        used = cpu_seconds()
        runs = [scan(path, flags) for _ in range(options.repeats)]
        each = (cpu_seconds() - used) / options.repeats
        fastest = min(seconds for seconds, _, _ in runs)
        slowest = max(seconds for seconds, _, _ in runs)
        document = runs[0][2]["plan"]["dataset"]["lengths"]
        print(
            f"{counted_by:<10} {path.stat().st_size / fastest / 1e6:6.1f} MB/s at best, "
            f"{path.stat().st_size / slowest / 1e6:.1f} at worst   "
            f"{path.stat().st_size / each / 1e6:.1f} MB a second of one core   "
            f"peak {max(peak for _, peak, _ in runs) / 1e6:.0f} MB   "
            f"{document['rows_kept']:,} of {document['rows_total']:,} rows kept",
            flush=True,
        )


def write_dataset(path: Path, size: int) -> None:
    """Rows of 2 to 17 series of 256 to 1024 points, 3 to 6 significant figures, to ``size``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as file:
        for line in lines():
            file.write(line)
            written += len(line)
            if written >= size:
                break
    os.replace(file.name, path)


def lines() -> Iterator[bytes]:
    """Endless rows, the same in every process; series are drawn from a pool written out once."""
    draw = random.Random(2026)
    pool = [series(draw) for _ in range(SERIES_POOL)]
    while True:
        chosen = [draw.choice(pool) for _ in range(draw.randint(2, 17))]
        named = [
            f"Metric {number}, {draw.choice(METRICS)} of host {draw.randint(1, 900)}, sampled "
            f"every {draw.choice((10, 30, 60))} seconds over the last day: <ts><ts/>;"
            for number in range(1, len(chosen) + 1)
        ]
        text = f"There are {len(chosen)} time series. {' '.join(named)} {QUESTION}"
        answer = ANSWER.format(draw.gauss(50, 20), draw.randint(1, 1024), draw.gauss(0, 9))
        head = json.dumps({"input": text, "output": answer})
        yield f'{head[:-1]}, "timeseries": [{", ".join(chosen)}]}}\n'.encode()


def series(draw: random.Random) -> str:
    """A random walk about a level of its own, as JSON."""
    level, figures = 10 ** draw.uniform(-2, 5), draw.randint(3, 6)
    value, values = level, []
    for _ in range(draw.randint(256, 1024)):
        value += draw.gauss(0, level / 20)
        values.append(f"{float(f'{value:.{figures}g}')!r}")
    return f"[{', '.join(values)}]"


def scan(path: Path, flags: list[str]) -> tuple[float, int, dict[str, Any]]:
    """(seconds, peak bytes of the process tree, JSON document) of one plan."""
    given = ["--dataset", str(path), "--model", "chatts-14b", "--gpus", "H200"]
    given += ["--cutoff-len", "8192", *flags]
    return watched_plan(given, interval_seconds=0.02, shared_once=False)


if __name__ == "__main__":
    main()
