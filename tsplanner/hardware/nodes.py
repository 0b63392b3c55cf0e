"""Several machines alike, and the network between them."""

from __future__ import annotations

from dataclasses import replace

from memory_models.device import Machine, NodeLink
from memory_models.frozen import frozen
from tsplanner.errors import UsageError
from tsplanner.hardware.gpus.names import gpu_by_driver_name

BITS = 8
GBIT = 1e9
MOST_NODES = 512
"""Far above what a fine-tuning run takes; a count beyond it is a slip."""
ETHERNET_GBIT = 10.0
"""Of machines whose cards have no NVLink built in: what a workstation's board or a switch has."""
GBIT_PER_GPU = {
    7: (12.5, "AWS p3dn.24xlarge: 100 Gbit/s for 8 GPUs"),
    8: (50.0, "AWS p4d.24xlarge: 400 Gbit/s for 8 GPUs"),
    9: (400.0, "AWS p5.48xlarge: 3,200 Gbit/s for 8 GPUs"),
    10: (400.0, "AWS p6-b200.48xlarge: 3,200 Gbit/s for 8 GPUs"),
}
"""Network of machines whose boards have NVLink built in, by the major compute capability, with the
rented machine that it is that of. Source: AWS's pages of its accelerated instances."""


@frozen
class Nodes:
    """How many machines there are, and what joins them, as a person says."""

    count: int = 1
    gbit_per_second: float | None = None
    """Of one machine, in one direction; None: not said."""


def several(machine: Machine, asked: Nodes, *, on_cpu: bool = False) -> Machine:
    """As many machines like this one as were asked for; a machine file may say how many, too.

    Raises UsageError for a CPU, for too many, and for a network without machines that it joins.
    """
    count = asked.count if asked.count > 1 else machine.nodes
    if count == 1:
        if asked.gbit_per_second is not None:
            raise UsageError("--node-link joins several machines: add --nodes N, or leave it out.")
        return machine
    if on_cpu or not machine.devices:
        raise UsageError("--nodes needs GPUs: a plan for the CPU runs in one process.")
    if count > MOST_NODES:
        raise UsageError(f"--nodes must be at most {MOST_NODES}, not {count}.")
    if asked.gbit_per_second is not None:
        return replace(machine, nodes=count, node_link=stated_link(asked.gbit_per_second))
    return machines_alike(machine, count)


def stated_link(gbit_per_second: float) -> NodeLink:
    """The network that a person described, in Gbit/s of one machine."""
    return NodeLink(bytes_per_second=gbit_per_second * GBIT / BITS)


def machines_alike(machine: Machine, count: int) -> Machine:
    """Several such machines, over the network that is known of them, or the assumed one."""
    return replace(machine, nodes=count, node_link=machine.node_link or assumed_link(machine))


def assumed_link(machine: Machine) -> NodeLink:
    """The network that machines with such cards usually have."""
    rows = [gpu_by_driver_name(device.name, device.total_bytes) for device in machine.devices]
    oldest = min(device.compute_capability[0] for device in machine.devices)
    if oldest in GBIT_PER_GPU and all(gpu and gpu.links.nvlink_built_in for gpu in rows):
        each, source = GBIT_PER_GPU[oldest]
        rate = each * len(rows)
    else:
        rate, source = ETHERNET_GBIT, "Ethernet"
    return replace(stated_link(rate), assumed=source)
