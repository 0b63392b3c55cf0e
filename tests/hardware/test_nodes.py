"""Several machines alike: how many, and the network that is stated or assumed."""

from __future__ import annotations

import pytest

from tsplanner.errors import UsageError
from tsplanner.hardware.detect import machine_for
from tsplanner.hardware.nodes import MOST_NODES, Nodes, machines_alike, several, stated_link


@pytest.mark.parametrize(
    ("gpus", "gbit", "source"),
    [
        # No NVLink is built in: Ethernet, whatever the cards.
        ("2x RTX 3090", 10, "Ethernet"),
        ("8x A100 PCIe 80GB", 10, "Ethernet"),
        # 50 Gbit/s a card, and 400 a card, on boards with NVLink.
        ("8x A100 SXM4 80GB", 400, "AWS p4d.24xlarge: 400 Gbit/s for 8 GPUs"),
        ("4x H100 SXM5", 1600, "AWS p5.48xlarge: 3,200 Gbit/s for 8 GPUs"),
    ],
)
def test_the_network_follows_from_the_cards_and_names_its_source(
    gpus: str, gbit: float, source: str
) -> None:
    """Of one machine with all its adapters."""
    link = machines_alike(machine_for(gpus, None), 2).node_link
    assert link is not None
    assert link.gbit_per_second == pytest.approx(gbit)
    assert link.assumed == source


def test_what_a_person_states_is_not_assumed() -> None:
    """25 Gbit/s are 3.125 GB/s."""
    found = several(machine_for("2x RTX 3090", None), Nodes(count=4, gbit_per_second=25))
    assert found.nodes == 4
    assert found.node_link == stated_link(25)
    assert found.node_link.bytes_per_second == pytest.approx(3.125e9)


def test_one_machine_has_no_network() -> None:
    """And nothing of it changes."""
    machine = machine_for("2x RTX 3090", None)
    assert several(machine, Nodes()) is machine
    with pytest.raises(UsageError, match="--node-link joins several machines: add --nodes N"):
        several(machine, Nodes(gbit_per_second=10))


@pytest.mark.parametrize(
    ("gpus", "count", "on_cpu", "words"),
    [
        ("cpu", 2, False, "--nodes needs GPUs"),
        ("RTX 3090", 2, True, "--nodes needs GPUs"),
        ("RTX 3090", MOST_NODES + 1, False, "--nodes must be at most 512, not 513"),
    ],
)
def test_what_several_machines_cannot_be_is_a_sentence(
    gpus: str, count: int, on_cpu: bool, words: str
) -> None:
    """A CPU, or a slip."""
    with pytest.raises(UsageError, match=words):
        several(machine_for(gpus, None), Nodes(count=count), on_cpu=on_cpu)
