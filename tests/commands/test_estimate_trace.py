"""``tsplanner estimate --trace``: the same document without a formula."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tsplanner.install import Extra, install_command

ROOT = Path(__file__).resolve().parents[2]
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 500,
    "max_position_embeddings": 256,
}
needs_torch = pytest.mark.skipif(find_spec("peft") is None, reason="needs the training libraries")


def estimate(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the verb in ``folder``, off line."""
    return subprocess.run(
        [sys.executable, "-m", "tsplanner", "estimate", *words],
        check=False,
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def model(folder: Path, model_type: str, **keys: object) -> Path:
    """A folder with a config.json of that type."""
    path = folder / model_type
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": model_type, **SHAPE, **keys}))
    return path


@needs_torch
def test_cases_are_traced_by_one_process_in_order(tmp_path: Path) -> None:
    """Known types have the formulas' figures beside the trace; unknown ones are traced unasked."""
    model(tmp_path, "llama")
    model(tmp_path, "seed_oss", head_dim=16, attention_bias=False)
    cases = [
        {"model": "llama", "sequence_length": 64},
        {"model": "nowhere"},
        {"model": "seed_oss", "sequence_length": 64},
        {"model": "llama", "world_size": 2},
    ]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    done = estimate(tmp_path, "--cases", "cases.jsonl", "--trace")
    assert (done.returncode, done.stderr) == (1, "")  # two of the cases cannot be traced
    known, missing, unknown, several = map(json.loads, done.stdout.splitlines())
    assert [row["case"] for row in (known, missing, unknown, several)] == cases
    assert known["assumptions"][0].startswith("traced in ")
    assert known["formula"]["peak_allocated_bytes"]["expected"] > 0
    assert sum(known["components"].values()) == known["process_bytes"]["expected"]
    assert missing["error"].startswith('No model "nowhere"')
    assert unknown["formula"] is None
    assert unknown["assumptions"][-1].startswith("no reader for this model type")
    # Embedding and head 2 x 500 x 64; a block 4 x 64 x 64 + 3 x 64 x 128 + 2 x 64; a last norm 64.
    assert unknown["parameters"]["total"] == 64000 + 2 * (16384 + 24576 + 128) + 64
    assert several["error"].startswith("A trace covers one GPU")


@needs_torch
def test_a_type_without_a_reader_is_traced_unasked(tmp_path: Path) -> None:
    """The document is that of a trace, and stderr stays empty in a pipe."""
    model(tmp_path, "seed_oss", head_dim=16, attention_bias=False)
    done = estimate(tmp_path, "--model", "seed_oss", "--sequence-length", "64")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["alive_at_peak"][0]["bytes"] > 0


@needs_torch
def test_a_type_that_transformers_does_not_know_is_refused(tmp_path: Path) -> None:
    """Code that a model ships runs only if asked by name."""
    model(tmp_path, "home_made", auto_map={"AutoModelForCausalLM": "own.Model"})
    done = estimate(tmp_path, "--model", "home_made", "--sequence-length", "64")
    assert done.returncode == 1
    assert "--trust-remote-code" in done.stderr


def test_a_length_above_the_models_is_refused_before_anything_is_traced(tmp_path: Path) -> None:
    """The limit of learned positions is in the config, reader or not."""
    model(tmp_path, "opt", ffn_dim=128, word_embed_proj_dim=64)
    done = estimate(tmp_path, "--model", "opt", "--sequence-length", "512", "--trace")
    assert done.returncode == 2
    assert "max_position_embeddings 256" in done.stderr


def test_without_torch_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    """A type without a reader needs the training libraries."""
    model(tmp_path, "seed_oss")
    hide = tmp_path / "sitecustomize.py"
    hide.write_text(
        "import importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torch' else real(name, *a)\n"
    )
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    done = estimate(tmp_path, "--model", "seed_oss", "--sequence-length", "64", PYTHONPATH=path)
    assert done.returncode == 1
    command = install_command(Extra.TRAIN)
    assert f"needs torch, which is not installed: {command}" in done.stderr
