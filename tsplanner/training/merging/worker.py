"""The merging process: ``python -m tsplanner.training.merging.worker REQUEST.json TOLD.jsonl``.

It writes a line for every stage, and one at its end: what it made, or the reason why there is
nothing. The parent never imports torch.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import msgspec

from tsplanner.errors import TsplannerError
from tsplanner.training.merging.records import MergeRequest, MergeTold
from tsplanner.training.worker import environment_variables
from tsplanner.trust import FLAG, granting


def main(arguments: list[str]) -> int:
    """Merge what a request asks for; 0 if it was written and checked, 1 otherwise."""
    request = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=MergeRequest)
    environment_variables.set_defaults()
    with Path(arguments[1]).open("wb") as lines, granting(FLAG in arguments[2:]):

        def tell(told: MergeTold) -> None:
            lines.write(msgspec.json.encode(told) + b"\n")
            lines.flush()

        last = outcome(request, lambda stage: tell(MergeTold(stage=stage)))
        tell(last)
    return 1 if last.error else 0


def outcome(request: MergeRequest, tell: object) -> MergeTold:
    """What was made, or one sentence that says why nothing was."""
    from tsplanner.training.merging.merge import merge

    try:
        return MergeTold(merged=merge(request, tell))  # type: ignore[arg-type]
    except TsplannerError as error:
        return MergeTold(error=str(error))
    except Exception as error:
        traceback.print_exc()
        text = (str(error).strip() or "no message").splitlines()[0]
        return MergeTold(error=f"The merge failed ({type(error).__name__}: {text[:300]}).")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
