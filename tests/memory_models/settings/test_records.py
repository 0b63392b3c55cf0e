"""The records of settings: values that no run can have are refused."""

from __future__ import annotations

import pytest

from memory_models.settings import TrainingSettings, from_flat


def test_machines_have_as_many_processes_as_each_other() -> None:
    """Eight over two machines are four each; eight over three cannot be."""
    sharding = from_flat(TrainingSettings, world_size=8, nodes=2).sharding
    assert sharding.processes_per_node == 4
    with pytest.raises(ValueError, match="world_size 8 counts the GPUs of all machines, and nodes"):
        from_flat(TrainingSettings, world_size=8, nodes=3)
