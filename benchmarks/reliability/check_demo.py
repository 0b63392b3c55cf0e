"""Judge the embedded default's run: did the search learn, and what did it say of itself?

    python benchmarks/reliability/check_demo.py saves

Ends with status 1 if the newest search did not learn, beat the default without proof, or left no
adapter.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

LEARNED = 0.7
"""The winner's held-out loss must be under this share of the loss before the first step."""


def main() -> None:
    """Print the figures of the newest search and end with its verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("saves", type=Path)
    saves = parser.parse_args().saves
    found = sorted(saves.rglob("tune.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"no finished search under {saves}")
    folder = found[-1].parent
    record = json.loads((folder / "record.json").read_text())
    start = record["losses"]["start_eval_loss"]
    best = min(row["loss"] for row in record["losses"]["evaluations"])
    decision = json.loads(found[-1].read_text())["decision"]
    print(f"run                {folder}")
    print(f"held-out loss      {start:.3f} before, {best:.3f} at best ({best / start:.2f} of it)")
    print(f"decision           {decision['sentence']}")
    print(f"trials             {len(list((folder / 'trials').iterdir()))}")
    if best > LEARNED * start:
        raise SystemExit(f"did not learn: {best:.3f} is over {LEARNED} of {start:.3f}")
    if not (folder / "adapter" / "adapter_model.safetensors").is_file():
        raise SystemExit(f"no adapter in {folder}")


if __name__ == "__main__":
    main()
