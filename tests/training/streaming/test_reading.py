"""A folder is read layer by layer, and no part of it is in memory twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from memory_models.settings import Dtype, Quantization  # noqa: E402
from tests.support import tiny  # noqa: E402
from tests.training.streaming.test_base import plan  # noqa: E402
from tsplanner.models.source import read_architecture  # noqa: E402
from tsplanner.training.memory import (  # noqa: E402
    peak_resident_bytes,
    reset_resident_peak,
    resident_bytes,
)
from tsplanner.training.streaming.base import StreamedBase  # noqa: E402
from tsplanner.training.streaming.reading import (  # noqa: E402
    LayersAsTheyCome,
    let_go_of_what_was_read,
    read_by_layer,
)

MIB = 2**20
LAYERS = 12
LOADED = """
import sys
from pathlib import Path
import torch
from tests.training.streaming.test_reading import measured
print(measured(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""


def wide_config() -> dict[str, object]:
    """Twelve layers of 16.8 M weights, 32 MiB each in half precision."""
    return {
        **tiny.CONFIG,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "dtype": "bfloat16",
    }


def write_wide(folder: Path) -> int:
    """The model's folder with bf16 weights; bytes of its layers."""
    from safetensors.torch import save_file

    from tsplanner.training.base_model.configuration import configuration_values
    from tsplanner.training.language_model import auto_class

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(wide_config()))
    from transformers import AutoConfig

    config = AutoConfig.for_model("qwen2", **configuration_values(wide_config()))
    with torch.device("meta"):
        model = auto_class(config).from_config(config, dtype=torch.bfloat16)
    made = {
        name: torch.full(each.shape, 0.01, dtype=torch.bfloat16)
        for name, each in model.state_dict().items()
    }
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    inside = sum(each.nbytes for name, each in made.items() if ".layers." in name)
    assert inside > 350 * MIB
    return inside


def wide_base(
    folder: Path, dtype: str, form: str, numbers: int | tuple[int, ...] = LAYERS
) -> tuple[StreamedBase, int]:
    """The base with so many layers streamed, and the bytes that it adds to this process."""
    made = tiny.plan(folder.parent / f"tiny-{os.getpid()}")
    config = wide_config()
    model = replace(
        made.model,
        path=str(folder),
        config=config,
        architecture=read_architecture(config, name="wide", source="test"),
    )
    small = tiny.with_hardware(
        made,
        model_dtype=Dtype(dtype),
        quantization=Quantization(form) if form != "none" else None,
        upcast_unquantized=False,
        gradient_checkpointing=True,
        streamed_layers=3,
    )
    # Libraries are loaded before anything is counted.
    StreamedBase(small, torch.device("cpu"))
    reset_resident_peak()
    before = resident_bytes()
    processes = len(numbers) if isinstance(numbers, tuple) else 1
    wide = tiny.with_hardware(
        replace(small, model=model), streamed_layers=numbers, world_size=processes
    )
    found = StreamedBase(wide, torch.device("cpu"))
    return found, resident_bytes() - before


def measured(folder: Path, dtype: str, form: str) -> str:
    """Most bytes that loading adds to this process beyond its libraries, and others, as JSON."""
    found, added = wide_base(folder, dtype, form)
    slabs = sum(slab.size for slab in found.slabs.values())
    return json.dumps([peak_resident_bytes() - resident_bytes() + added, added, slabs])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from Linux")
@pytest.mark.parametrize(
    ("dtype", "form"), [("bf16", "none"), ("fp16", "none"), ("bf16", "w8a8"), ("bf16", "nf4")]
)
def test_loading_takes_the_slabs_and_about_two_layers(
    tmp_path: Path, dtype: str, form: str
) -> None:
    """384 MiB of layers: as they are, cast on the way, or rounded; never the base twice."""
    inside = write_wide(tmp_path / "wide")
    layer = inside // LAYERS
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(tmp_path / "wide"), dtype, form],
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    peak, after, slabs = json.loads(done.stdout.splitlines()[-1])
    # A matrix that is rounded is there in fp32 for a moment, several times over, and on a CPU
    # bitsandbytes compares it with every value of the code. Whole layers are 384 MiB.
    at_once = 3 if form == "none" else 8
    assert peak < slabs + at_once * layer + 24 * MIB
    # What rounding has freed, the C library gives back sooner or later.
    assert form != "none" or after < 1.05 * slabs + 24 * MIB


SHRINKS = """
import os, sys
from pathlib import Path
from tests.training.streaming.test_base import plan
from tsplanner.training.streaming import base
import torch
given = plan(Path(sys.argv[1]), 3)
file = Path(given.model.path) / "model.safetensors"
came = base.StreamedBase._came
def shrinks(self, model, index, layer):
    came(self, model, index, layer)
    os.truncate(file, 4096)
base.StreamedBase._came = shrinks
base.StreamedBase(given, torch.device("cpu"))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="signals and memory files are of Linux")
def test_a_file_that_shrinks_ends_the_process_by_a_signal_of_its_own(tmp_path: Path) -> None:
    """The parent says in words what that signal stands for (tests/probe/test_missing_record.py)."""
    done = subprocess.run([sys.executable, "-c", SHRINKS, str(tmp_path)], check=False, timeout=200)
    assert done.returncode == -signal.SIGBUS


def test_every_layer_is_complete_when_it_is_told_of(tmp_path: Path) -> None:
    """In their order, and what follows is still to come."""
    told: list[int] = []

    def complete(model: object, place: int, layer: nn.Module) -> None:
        assert not any(each.is_meta for each in layer.parameters())
        told.append(place)

    model = read_by_layer(plan(tmp_path), LayersAsTheyCome(lambda _: None, complete), torch.float32)
    assert told == [0, 1, 2]
    assert not any(each.is_meta for each in model.parameters())
    assert getattr(model, "hf_quantizer", None) is None


def test_a_weight_that_was_let_go_of_is_read_again(tmp_path: Path) -> None:
    """Its file has it, and memory that belongs to no file is left alone."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    ours = torch.randn(512, 512)
    save_file({"weight": ours}, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt", backend="mmap") as file:
        read = file.get_slice("weight")[...]
    kept = ours.clone()
    let_go_of_what_was_read()
    assert torch.equal(read, kept)
    assert torch.equal(ours, kept)
