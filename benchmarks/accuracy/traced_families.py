"""Which causal model types of the installed transformers a trace can follow.

    python benchmarks/accuracy/traced_families.py            every type, three recipes each
    python benchmarks/accuracy/traced_families.py falcon     these types alone
    python benchmarks/accuracy/traced_families.py --recipes lora

A line a type: MiB allocated by LoRA on all linears with checkpointing and without it, and by full
fine-tuning, of a tiny model of that type; or why there is no trace. Then the reasons, counted.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass

from benchmarks.collect.family_configs import tiny_config
from memory_models.settings import FinetuningType, TrainingSettings, from_flat
from memory_models.units import MIB
from tsplanner.tracing.client import trace_all
from tsplanner.tracing.records import Subject, TraceOutcome, TraceRequest

RECIPES: dict[str, dict[str, object]] = {
    "lora": {},
    "kept": {"gradient_checkpointing": False},
    "full": {"finetuning_type": FinetuningType.FULL},
}
LENGTH, ROWS = 64, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One type and recipe, and what came of it."""

    kind: str
    recipe: str
    outcome: TraceOutcome

    @property
    def words(self) -> str:
        """The MiB allocated, or the first words of the reason."""
        trace = self.outcome.trace
        if trace is None:
            return f"{self.recipe} - {self.outcome.error[:160]}"
        return f"{self.recipe} {trace.peak_allocated_bytes / MIB:.2f} MiB"


def causal_kinds() -> list[str]:
    """Every model type that ``AutoModelForCausalLM`` can build."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def attempts(kinds: list[str], recipes: list[str]) -> list[Attempt]:
    """Trace each type by each recipe, in one process; prints a line a type as it is finished."""
    found: list[Attempt] = []
    asked: list[tuple[str, str, TraceRequest]] = []
    for kind in kinds:
        try:
            config = tiny_config(kind)
        except Exception as error:  # each configuration class refuses in its own way
            reason = TraceOutcome(error=f"No tiny config: {str(error).splitlines()[-1].strip()}")
            found.append(Attempt(kind=kind, recipe="config", outcome=reason))
            continue
        for recipe in recipes:
            settings = from_flat(
                TrainingSettings,
                sequence_length=LENGTH,
                micro_batch_size=ROWS,
                **RECIPES[recipe],
            )
            request = TraceRequest(subject=Subject(config=config), settings=settings)
            asked.append((kind, recipe, request))
    waiting = [(kind, recipe) for kind, recipe, _ in asked]

    def take(outcome: TraceOutcome) -> None:
        kind, recipe = waiting.pop(0)
        found.append(Attempt(kind=kind, recipe=recipe, outcome=outcome))
        if not waiting or waiting[0][0] != kind:
            done = [item.words for item in found if item.kind == kind]
            print(f"{kind:26s} {'; '.join(done)}", flush=True)

    trace_all([request for _, _, request in asked], take)
    return found


def main() -> None:
    """Trace, and print the table and the reasons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    options = parser.parse_args()
    kinds = options.kinds or causal_kinds()
    found = attempts(kinds, options.recipes)
    reasons: dict[str, set[str]] = defaultdict(set)
    for item in found:
        if item.outcome.trace is None:
            reasons[item.outcome.error].add(item.kind)
    failed = {kind for those in reasons.values() for kind in those}
    print(f"\n{len(kinds) - len(failed)} of {len(kinds)} types trace by every recipe; the others:")
    for reason, those in sorted(reasons.items(), key=lambda item: -len(item[1])):
        print(f"- {', '.join(sorted(those))}: {reason}")


if __name__ == "__main__":
    main()
