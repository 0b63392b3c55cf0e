"""TRL's own parser of ``trl sft --config`` on every folder given; prints what it made as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def parsed(folder: Path) -> dict[str, object]:
    """Arguments, and the words that are left for accelerate."""
    import yaml
    from trl.scripts.sft import make_parser

    os.chdir(folder)
    said = yaml.safe_load(Path("trl.yaml").read_text(encoding="utf-8"))
    *records, for_accelerate, unread = make_parser(prog="trl sft").parse_args_and_config(
        ["--config", "trl.yaml", "--use_cpu", "true"],
        return_remaining_strings=True,
        separate_remaining_strings=True,
    )
    found: dict[str, object] = {"for_accelerate": for_accelerate, "unread": unread}
    for record in records:
        for name in said:
            if hasattr(record, name):
                found[name] = getattr(record, name)
    return found


if __name__ == "__main__":
    answers = {Path(word).name: parsed(Path(word).resolve()) for word in sys.argv[1:]}
    sys.stdout.write(f"ANSWER {json.dumps(answers, default=str)}\n")
