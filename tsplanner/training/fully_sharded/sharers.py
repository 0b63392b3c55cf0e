"""The processes that share one copy of a base out: all of the run, or those of one machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from memory_models.settings import Sharding
from tsplanner.training import distributed


@dataclass(frozen=True)
class Sharers:
    """One process among those that share a copy out; every one must call the same in turn."""

    rank: int
    """Place of this process among them."""
    count: int
    mesh: DeviceMesh | None = None
    """In one dimension; None: there is no one else."""

    def own_rows(self, count: int) -> range:
        """The rows of this process, of ``count`` that all share out; they differ by one at most."""
        return range(self.rank * count // self.count, (self.rank + 1) * count // self.count)

    def largest(self, numbers: list[int]) -> list[int]:
        """The largest of each of the ``numbers`` of all of them."""
        if self.count == 1:
            return numbers
        found = torch.tensor(numbers, dtype=torch.int32, device=distributed.device())
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self._group)
        return [int(each) for each in found.tolist()]

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all of them below one another."""
        found = rows.new_empty((self.count * rows.shape[0], *rows.shape[1:]))
        dist.all_gather_into_tensor(found, rows, group=self._group)
        return found

    def scattered(self, rows: Tensor, count: int) -> Tensor:
        """This process's ``count`` rows of the sum over all of them."""
        found = rows.new_empty((count, *rows.shape[1:]))
        dist.reduce_scatter_tensor(found, rows, group=self._group)
        return found

    @property
    def _group(self) -> dist.ProcessGroup | None:
        return None if self.mesh is None else self.mesh.get_group()


def sharers_of(sharding: Sharding, device: torch.device) -> Sharers:
    """Those of this process. A machine has ranks one after the other, as torchrun deals them."""
    if not sharding.fsdp_per_host:
        mesh = init_device_mesh(device.type, (distributed.world_size(),))
        return Sharers(distributed.rank(), distributed.world_size(), mesh)
    shape, names = (sharding.nodes, sharding.slices), ("copy", "slice")
    own = init_device_mesh(device.type, shape, mesh_dim_names=names)["slice"]
    return Sharers(distributed.rank() % sharding.slices, sharding.slices, own)
