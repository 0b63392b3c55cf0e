"""Tiny folders of published families through the real command line: plan, probe, train, merge.

    python benchmarks/reliability/tiny_families.py CONFIGS [NAME ...]
    python benchmarks/reliability/tiny_families.py CONFIGS --recipes full dora kept --no-probe
    python benchmarks/reliability/tiny_families.py --kinds mamba2 zamba2 qwen3_next

CONFIGS is a folder of folders that each hold a ``config.json``. Each becomes a tiny model of the same
family with random weights, saved as transformers saves it. ``plan --cpu``, ``probe`` and ``train`` (20
steps) then run on it, PEFT alone loads the saved adapter on the folder, and ``merge`` puts it into
the base. A line per family and recipe, or the refusal. Ends with 1 if what a plan says fits does not run, or if its total is not the
model's own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from tests.support import tiny, tiny_families

ROWS = 20
WORDS = ["--cpu", "--epochs", "4", "--effective-batch", "4", "--cutoff-len", "96"]
"""Two of 20 rows are held out; 18 rows in batches of four are five steps an epoch."""
RECIPES: dict[str, list[str]] = {
    "lora": [],
    "checkpointed": ["--gradient-checkpointing", "on"],
    "kept": ["--gradient-checkpointing", "off"],
    "full": ["--finetuning-type", "full"],
    "dora": ["--finetuning-type", "dora"],
    "adalora": ["--finetuning-type", "adalora"],
    "freeze": ["--finetuning-type", "freeze"],
}
LONGEST = 400
"""Seconds of one command."""


@dataclass(slots=True, kw_only=True)
class Finding:
    """What came of one family under one recipe."""

    name: str
    recipe: str
    steps: dict[str, str] = field(default_factory=dict)
    """Words per step; a step that failed begins with FAILED."""

    @property
    def failed(self) -> bool:
        """Whether a step failed that the plan had promised."""
        return any(words.startswith("FAILED") for words in self.steps.values())

    def __str__(self) -> str:
        """One line."""
        told = "; ".join(f"{step} {words}" for step, words in self.steps.items())
        return f"{'FAILED ' if self.failed else ''}{self.name:28s} {self.recipe:12s} {told}"


class Failure(Exception):
    """A command ended with an error; its sentence."""


def call(*words: str) -> dict[str, Any]:
    """The JSON document of a command.

    Raises:
        Failure: it ended with an error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tsplanner", *words, "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Failure(f"exit {done.returncode}: {said.removeprefix('tsplanner: ')}")
    return dict(json.loads(done.stdout))


def parameters(folder: Path) -> int:
    """Parameters of the model of a folder, as transformers counts them."""
    import torch
    from transformers import AutoConfig

    from tsplanner.training.language_model import auto_class

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = auto_class(config).from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def load_adapter(folder: Path, adapter: Path) -> str:
    """Load a saved adapter with PEFT alone, on the published class.

    Raises:
        Failure: keys of the file have no place in the model, or it changes nothing.
    """
    from peft import PeftModel
    from safetensors import safe_open
    from transformers import AutoConfig

    from tsplanner.training.language_model import auto_class

    model = auto_class(AutoConfig.from_pretrained(folder)).from_pretrained(folder)
    wrapped = PeftModel.from_pretrained(model, adapter)
    own = dict(wrapped.named_parameters())
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        names = list(file.keys())
        stale = [name for name in names if not same(own, name, file.get_tensor(name))]
    if stale:
        raise Failure(f"PEFT did not load {len(stale)} of {len(names)} tensors: {stale[0]}")
    return f"loads ({len(names)} tensors)"


def same(own: Mapping[str, Any], name: str, saved: Any) -> bool:
    """Whether the model holds the saved tensor under its name with the adapter's name in it."""
    stem, _, kind = name.rpartition(".")
    places = (f"{stem}.default.{kind}", f"{name}.default", f"{name}.default.weight", name)
    found = next((own[place] for place in places if place in own), None)
    return found is not None and bool(found.detach().float().sub(saved.float()).abs().max() < 1e-3)


def tried(folder: Path, recipe: str, work: Path, probe: bool) -> Finding:
    """Plan, probe, train and load one tiny folder."""
    found = Finding(name=folder.name, recipe=recipe)
    data = tiny.write_dataset(work / "rows.jsonl", ROWS)
    plan = work / "plan.json"
    asked = ["--model", str(folder), "--dataset", str(data), "--output", str(plan)]
    saves = ["--saves", str(work / "saves")]
    begin = time.monotonic()
    try:
        call("plan", *asked, *saves, *WORDS, *RECIPES[recipe])
    except Failure as refusal:
        found.steps["refused:"] = str(refusal)
        return found
    told = json.loads(plan.read_text())["model"]
    total, real = told["parameters_total"], parameters(folder)
    traced = bool(told["architecture"]["layer"].get("recorded"))
    count = "exact" if total == real else f"FAILED {total} for {real} parameters"
    found.steps["total"] = count
    found.steps["plan"] = f"{'traced' if traced else 'formula'} {time.monotonic() - begin:.0f} s"
    try:
        if probe:
            call("probe", "--plan", str(plan), *saves)
            found.steps["probe"] = "passes"
        run = work / "run"
        call("train", "--plan", str(plan), "--run-folder", str(run), "--force")
        found.steps["train"] = "runs"
        adapters = sorted(run.rglob("adapter_config.json"))
        if adapters:
            found.steps["adapter"] = load_adapter(folder, adapters[-1].parent)
            compared = call("merge", str(run))["compared"]
            found.steps["merge"] = f"off by {compared['difference']:.1e}"
    except (Failure, subprocess.TimeoutExpired) as error:
        found.steps["then"] = f"FAILED {error}"
    except Exception as error:  # of PEFT and transformers, each in its own way
        found.steps["adapter"] = f"FAILED {type(error).__name__}: {error}"
    return found


def configs(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and config.json of every family asked for."""
    for kind in options.kinds:
        from benchmarks.collect.family_configs import tiny_config

        yield kind, tiny_config(kind)
    if options.configs is not None:
        for path in sorted(options.configs.glob("*/config.json")):
            if not options.names or path.parent.name in options.names:
                yield path.parent.name, json.loads(path.read_text())


def main(arguments: list[str] | None = None) -> int:
    """A line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="?", type=Path, help="folder of published configs")
    parser.add_argument("names", nargs="*", help="these alone")
    parser.add_argument("--kinds", nargs="+", default=[], help="model types of transformers")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["lora"])
    parser.add_argument("--no-probe", action="store_true")
    options = parser.parse_args(arguments)
    failures = 0
    with tempfile.TemporaryDirectory(prefix="families-") as scratch:
        os.environ.setdefault("TSPLANNER_STATE", f"{scratch}/state")
        for name, config in configs(options):
            folder = Path(scratch) / name
            try:
                tiny_families.write_model(config, folder)
            except Exception as error:  # each configuration class refuses in its own way
                words = (str(error).strip() or "no message").splitlines()[0]
                print(f"{name:28s} no tiny model: {type(error).__name__}: {words[:120]}")
                folder.mkdir(exist_ok=True)
                (folder / "config.json").write_text(json.dumps(config))
            for recipe in options.recipes:
                work = Path(scratch) / "work" / name / recipe
                work.mkdir(parents=True)
                found = tried(folder, recipe, work, not options.no_probe)
                failures += found.failed
                print(found, flush=True)
                shutil.rmtree(work)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
