"""Published config.json files: what a plan reads of each, against transformers' own model.

    python benchmarks/accuracy/published_configs.py                   those of benchmarks/data/configs
    python benchmarks/accuracy/published_configs.py FOLDER ...        folders that hold NAME/config.json
    python benchmarks/accuracy/published_configs.py --output FILE     also as JSON

A config is right if the total of its parameters equals transformers' own, on a meta device, or if it
is refused for a true reason: transformers builds no such model, or its head, its weights' form or
its repository's code is not one that our worker trains. Of rope factors, which change no shape, the
configs in the repository hold ones.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memory_models.states.weights import total_parameters
from tsplanner.errors import TsplannerError
from tsplanner.models import strangers
from tsplanner.models.decoders import READERS
from tsplanner.models.known.refusals import WrongModelError
from tsplanner.models.source import read_model

CONFIGS = Path(__file__).parents[1] / "data" / "configs"
CAUSAL_HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
TRAINED_FORMS = ("bitsandbytes", "mxfp4")
"""Forms of stored weights that our worker trains on any machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a plan reads of one config."""

    name: str
    model_type: str
    by: str
    """``formula``, ``trace`` or ``refused``."""
    total: int | None
    """Parameters that the plan counts."""
    transformers: int | None
    """Parameters that transformers builds; None: it builds no such model."""
    sentence: str
    """Why it is refused; empty if it is not."""
    right: bool


def configs(folders: list[Path]) -> Iterator[Path]:
    """The config.json files of the folders, by name."""
    for folder in folders:
        yield from sorted(folder.glob("*/config.json"))


def answer(path: Path) -> Answer:
    """What a plan reads of a config, and whether that is right."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    built = built_parameters(values)
    total, sentence, by = None, "", "refused"
    try:
        source = read_model(str(path.parent))
        total = total_parameters(source.architecture)
        by = "trace" if source.architecture.layer.recorded else "formula"
        right = total == built
    except TsplannerError as error:
        sentence = str(error).removeprefix(f"{path}: ")
        right = true_refusal(values, error, built)
    return Answer(
        name=path.parent.name,
        model_type=str(values.get("model_type")),
        by=by,
        total=total,
        transformers=built,
        sentence=sentence,
        right=right,
    )


def true_refusal(values: dict[str, Any], error: TsplannerError, built: int | None) -> bool:
    """Whether our worker could indeed not train what the config describes."""
    method = (values.get("quantization_config") or {}).get("quant_method")
    if method is not None:
        return method not in TRAINED_FORMS
    causal = any(head in name for name in values.get("architectures", ()) for head in CAUSAL_HEADS)
    if built is None or not causal or values.get("is_encoder_decoder"):
        return isinstance(error, WrongModelError) or built is None
    return False


def built_parameters(values: dict[str, Any]) -> int | None:
    """Parameters of transformers' model on a meta device; None: there is none for next tokens."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, logging

    logging.set_verbosity_error()
    plain = {key: value for key, value in values.items() if key != "quantization_config"}
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        # A published wrapper is loaded whole, also where the causal class takes its text half.
        for auto in (AutoModelForImageTextToText, AutoModelForCausalLM):
            try:
                model = auto.from_config(AutoConfig.for_model(**plain))
            except Exception:  # what a library says of what it cannot build has no common class
                continue
            return sum(parameter.numel() for parameter in model.parameters())
    return None


def main() -> None:
    """Print a line for each config and how many are right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[CONFIGS])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    strangers.use(recordings)
    answers = []
    for path in configs(options.folders):
        found = answer(path)
        answers.append(found)
        what = found.sentence or f"{found.total:,} (transformers: {found.transformers:,})"
        verdict = "right" if found.right else "WRONG"
        print(f"{verdict}  {found.name:30} {found.model_type:14} {found.by:8} {what}", flush=True)
    right = sum(found.right for found in answers)
    print(f"{right} of {len(answers)} right; readers: {len(READERS)}")
    if options.output is not None:
        rows = [asdict(found) for found in answers]
        options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def recordings() -> strangers.Describer:
    """Who describes models without a formula, as for the program itself."""
    from tsplanner.tracing.recording.client import Recordings

    return Recordings(tell=lambda sentence: print(sentence, file=sys.stderr))


if __name__ == "__main__":
    main()
