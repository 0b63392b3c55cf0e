"""Layers that stay in the model's files."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from memory_models.settings import Dtype  # noqa: E402
from tests.support import tiny  # noqa: E402
from tests.training.streaming.test_base import plan  # noqa: E402
from tsplanner.errors import TsplannerError  # noqa: E402
from tsplanner.training.streaming import files  # noqa: E402
from tsplanner.training.streaming.base import StreamedBase  # noqa: E402
from tsplanner.training.streaming.feed import WeightFeed  # noqa: E402
from tsplanner.training.streaming.files import FileSlab  # noqa: E402

CPU = torch.device("cpu")


def test_layers_come_from_their_files_and_the_host_keeps_none(tmp_path: Path) -> None:
    """Each comes as the file has it, in turn and out of turn; nothing is copied to slabs."""
    from safetensors.torch import load_file

    given = tiny.with_hardware(plan(tmp_path, 3), stream_from_files=True)
    found = StreamedBase(given, CPU)
    assert found.copy is None
    assert all(isinstance(slab, FileSlab) and slab.host is None for slab in found.slabs.values())
    stored = load_file(tmp_path / "model" / "model.safetensors")
    feed = WeightFeed(found.slabs, CPU)
    name = "mlp.down_proj.weight"
    for index, ahead in ((0, [1, 2]), (1, [2, 1]), (2, [1, 0]), (0, [])):
        with feed.layer(index, ahead):
            layer = found.model.model.layers[index]
            assert torch.equal(layer.get_parameter(name), stored[f"model.layers.{index}.{name}"])


def test_layers_that_the_files_have_in_another_dtype_are_cast_as_they_come(tmp_path: Path) -> None:
    """The files have fp32 and the plan trains in bf16: every weight is the cast one."""
    given = tiny.with_hardware(plan(tmp_path, 2), model_dtype=Dtype.BF16)
    there = StreamedBase(given, CPU)
    found = StreamedBase(tiny.with_hardware(given, stream_from_files=True), CPU)
    ours, theirs = WeightFeed(found.slabs, CPU), WeightFeed(there.slabs, CPU)
    for index in (1, 2):
        with ours.layer(index), theirs.layer(index):
            pass
    for index in (0, 1, 2):
        with ours.layer(index), theirs.layer(index):
            here = found.model.model.layers[index].named_parameters()
            for name, weight in here:
                other = there.model.model.layers[index].get_parameter(name)
                assert weight.dtype is torch.bfloat16
                assert torch.equal(weight, other)
    assert found.model.lm_head.weight.dtype is torch.bfloat16


def test_a_failure_while_layers_come_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformers would log it and go on with the next weight."""
    monkeypatch.setattr(files, "file_mappings", list)
    with pytest.raises(TsplannerError, match="in another form than they are trained in"):
        StreamedBase(tiny.with_hardware(plan(tmp_path, 2), stream_from_files=True), CPU)


def test_random_weights_are_in_no_file(tmp_path: Path) -> None:
    """A probe of a preset has none."""
    from dataclasses import replace

    given = tiny.with_hardware(plan(tmp_path, 2), stream_from_files=True)
    with pytest.raises(TsplannerError, match="Random weights are in no file"):
        StreamedBase(replace(given, model=replace(given.model, has_weights=False)), CPU)
