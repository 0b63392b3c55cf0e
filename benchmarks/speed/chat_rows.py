"""How fast ``tsplanner plan`` reads and tokenises a large dataset of chat rows, and in what memory.

python benchmarks/speed/chat_rows.py --folder /tmp/chat [--gigabytes 1] [--repeats 2]

Makes the rows and a tokenizer of 151,643 entries once (`chat_texts.py` says of what; the folder is
yours to delete), plans with them as JSONL and, where pyarrow is installed, as Parquet, forgetting
what was counted before. The rate counts the bytes of the JSONL file in both cases. Memory is the
sum of the proportional set sizes (PSS) of the whole process tree, looked at every 250 ms: a page
that two processes share counts once.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from chat_texts import paragraphs, tokenizer, write_jsonl, write_parquet

from benchmarks.speed.watched_plan import cpu_seconds, watched_plan

INTERVAL_SECONDS = 0.25


def main() -> None:
    """Make what is missing, plan with each form, print rates and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where rows and tokenizer lie")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="10^9 bytes of JSONL [1]")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    vocabulary = tokenizer(options.folder)
    lines = options.folder / f"chat-{int(options.gigabytes * 1000)}.jsonl"
    if not lines.is_file():
        write_jsonl(lines, paragraphs(options.folder), int(options.gigabytes * 1e9))
    forms = [lines]
    if importlib.util.find_spec("pyarrow"):
        forms.append(lines.with_suffix(".parquet"))
        if not forms[1].is_file():
            write_parquet(forms[1], lines)
    size = lines.stat().st_size
    for path in forms:
        used = cpu_seconds()
        runs = [scan(path, vocabulary) for _ in range(options.repeats)]
        each = (cpu_seconds() - used) / options.repeats
        best, worst = min(run[0] for run in runs), max(run[0] for run in runs)
        lengths = runs[0][2]["plan"]["dataset"]["lengths"]
        print(
            f"{path.suffix[1:]:<8} {size / best / 1e6:6.1f} MB/s at best, {size / worst / 1e6:.1f} "
            f"at worst   {size / each / 1e6:.1f} MB a second of one core   peak {max(run[1] for run in runs) / 1e6:.0f} MB   "
            f"{lengths['rows_kept']:,} of {lengths['rows_total']:,} rows kept, "
            f"mean {lengths['mean']:.1f} tokens",
            flush=True,
        )


def scan(path: Path, vocabulary: Path) -> tuple[float, int, dict[str, Any]]:
    """(seconds, peak PSS in bytes of the process tree, JSON document) of one plan."""
    flags = ["--dataset", str(path), "--model", "qwen3-8b", "--tokenizer", str(vocabulary)]
    flags += ["--gpus", "H200", "--cutoff-len", "4096"]
    return watched_plan(flags, interval_seconds=INTERVAL_SECONDS, shared_once=True)


if __name__ == "__main__":
    main()
