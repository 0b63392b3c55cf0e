"""A base whose layers are in host memory."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tests.support import tiny  # noqa: E402
from tsplanner.errors import TsplannerError  # noqa: E402
from tsplanner.planner.plan import Plan  # noqa: E402
from tsplanner.training.adapters import decoder_layers  # noqa: E402
from tsplanner.training.streaming.base import StreamedBase  # noqa: E402

CPU = torch.device("cpu")


def plan(folder: Path, streamed: int = 2) -> Plan:
    """The tiny model of three layers."""
    return tiny.with_hardware(
        tiny.plan(folder), streamed_layers=streamed, gradient_checkpointing=True
    )


def test_streamed_layers_are_read_into_slabs_and_the_others_stay(tmp_path: Path) -> None:
    """Of three layers the first one stays; the slabs hold what the file holds."""
    from safetensors.torch import load_file

    found = StreamedBase(plan(tmp_path), CPU)
    _, layers = decoder_layers(found.model)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert sorted(found.slabs) == [1, 2]
    name = "mlp.down_proj.weight"
    assert torch.equal(layers[0].get_parameter(name), stored[f"model.layers.0.{name}"])
    assert layers[2].get_parameter(name).untyped_storage().nbytes() == 4
    slab = found.slabs[2]
    assert slab.host is not None
    slab.install(slab.host)
    assert torch.equal(layers[2].get_parameter(name), stored[f"model.layers.2.{name}"])


def test_random_weights_are_drawn_layer_by_layer(tmp_path: Path) -> None:
    """No layer is empty, and two have unlike values."""
    from dataclasses import replace

    given = plan(tmp_path, 3)
    given = replace(given, model=replace(given.model, has_weights=False))
    found = StreamedBase(given, CPU)
    values = []
    for index in range(3):
        host = found.slabs[index].host
        assert host is not None
        values.append(found.slabs[index].places[0].of(host).clone())
    assert all(float(each.std()) > 0.01 for each in values)
    assert not torch.equal(values[0], values[1])


def test_more_layers_than_the_model_has_are_refused(tmp_path: Path) -> None:
    """A plan for another model."""
    with pytest.raises(TsplannerError, match="streams 4 layers and the model has 3"):
        StreamedBase(plan(tmp_path, 4), CPU)


def test_memory_that_cannot_be_locked_half_way_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second layer of three cannot be locked: no library hides it, and no third is tried."""
    from tsplanner.training.streaming.regions import Region

    locked: list[Region] = []

    def lock(region: Region) -> None:
        if locked:
            raise TsplannerError("The driver could not lock it.")
        locked.append(region)

    monkeypatch.setattr(Region, "lock", lock)
    with pytest.raises(TsplannerError, match=r"^The driver could not lock it\.$"):
        StreamedBase(plan(tmp_path, 3), CPU)
    assert len(locked) == 1


def test_a_process_streams_the_layers_that_the_plan_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three layers the first process keeps two, the second one."""
    given = plan(tmp_path)
    given = tiny.with_hardware(given, streamed_layers=(1, 2), world_size=2)
    for process, streamed in enumerate(([2], [1, 2])):
        monkeypatch.setenv("LOCAL_RANK", str(process))
        found = StreamedBase(given, CPU)
        assert sorted(found.slabs) == streamed
        # Both processes stream layer 2, which the first one fills.
        assert found.filled_by == {2: 0, 1: 1}
