"""What a trace costs: seconds and peak resident bytes of the largest case of the target.

python benchmarks/speed/trace_cost.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

from memory_models.units import MIB

CASE = ("--model", "qwen2.5-14b", "--sequence-length", "4096")


def main() -> None:
    """Trace a 14B LoRA at 4096 tokens through the command line."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", "estimate", *CASE, "--trace", "--json"],
        check=True,
        capture_output=True,
    )
    seconds = time.monotonic() - began
    document = json.loads(done.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(
        f"{seconds:.1f} s with imports, {peak / MIB:.0f} MiB resident; "
        f"allocated {document['peak_allocated_bytes']['expected'] / MIB:.1f} MiB, "
        f"reserved {document['peak_reserved_bytes']['expected'] / MIB:.1f} MiB"
    )


if __name__ == "__main__":
    main()
