"""What streamed layers cost on the link to the host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.device import Device, Host, HostCopies, Machine, NodeLink
from memory_models.settings import LossKernel, TrainingSettings, changed, from_flat
from memory_models.sharding.fully_sharded import gathered_bytes
from memory_models.states.streamed import crossing_bytes
from tests.support.rig import TURING, machine
from tsplanner.models.source import read_model
from tsplanner.planner.devices import used_machine
from tsplanner.planner.settings import HardwareSettings
from tsplanner.throughput.host_link import LinkTime, link_time
from tsplanner.throughput.rates import rates_of
from tsplanner.throughput.step_parts import StepTime

MODEL = read_model("qwen2.5-14b").architecture
STREAMED = from_flat(
    TrainingSettings, streamed_layers=48, inputs_on_device=0, gradient_accumulation_steps=8
)


def test_work_hides_the_link_in_each_half_of_a_step() -> None:
    """Of 9 s of work 3 are forward: 2 s of weights hide there, and 2 + 1 s in the 6 of backward;
    4 s of weights stick out by 1 s, and 7 s by 4 s and by 7 + 1 - 6 s.
    """
    assert LinkTime(weights=2, inputs=1).exposed(3, 6, overlaps=True) == 0
    assert LinkTime(weights=4, inputs=1).exposed(3, 6, overlaps=True) == pytest.approx(1)
    assert LinkTime(weights=7, inputs=1).exposed(3, 6, overlaps=True) == pytest.approx(4 + 2)
    # Half of each half goes by while the link rests: it hides 1.5 of 7 s, and 3 of 8.
    resting = LinkTime(weights=7, inputs=1, hides=0.5)
    assert resting.exposed(3, 6, overlaps=True) == pytest.approx(5.5 + 5)
    assert LinkTime(weights=7, inputs=1, groups=2).halves == (14, 15)


def test_a_cpu_hides_nothing() -> None:
    """Both ways of weights and inputs add up."""
    assert LinkTime(weights=2, inputs=1).exposed(3, 6, overlaps=False) == 6


def test_a_step_waits_for_what_sticks_out() -> None:
    """8 s of work and 1 s of the optimizer; of 12 s of weights 12 - 8/3 and 12 - 16/3 stick out."""
    time = StepTime(
        matrix=8,
        memory=0,
        launch=0,
        optimizer=1,
        communication=0,
        offload=0,
        link=LinkTime(weights=12),
    )
    assert time.exposed == pytest.approx(24 - 8)
    assert time.seconds == pytest.approx(8 + 16 + 1)
    assert time.bottleneck == "traffic to the host"


def test_a_step_that_waits_for_the_host_hides_what_forward_issues() -> None:
    """Of 9 s of issuing one is forward's: of 2 s of weights one sticks out there and none of
    backward's 2; a third of 9 s of work would hide all.
    """
    link = LinkTime(weights=2, issued_share=1 / 9)
    issued = StepTime(
        matrix=0, memory=0, launch=9, optimizer=0, communication=0, offload=0, link=link
    )
    assert issued.halves == (pytest.approx(1), pytest.approx(8))
    assert issued.exposed == pytest.approx(1)
    assert replace(issued, matrix=9, launch=0).exposed == 0


def test_weights_cross_at_the_rate_of_locked_memory() -> None:
    """A step brings them twice; 12 GB/s of the datasheet are 10.44 of a copy."""
    rates = rates_of(machine(TURING))
    assert rates.links.pinned == pytest.approx(0.87 * 12e9)
    found = link_time(MODEL, STREAMED, rates)
    assert 2 * found.weights == pytest.approx(crossing_bytes(MODEL, STREAMED.states) / 10.44e9)
    assert found.inputs == pytest.approx(48 * 8 * 2048 * 5120 * 2 / 10.44e9)
    assert link_time(MODEL, TrainingSettings(), rates) == LinkTime()


def test_inputs_that_stay_on_the_device_cross_nothing() -> None:
    """Of 48 layers 12 keep theirs: three quarters cross, and weights as before."""
    rates = rates_of(machine(TURING))
    whole = link_time(MODEL, STREAMED, rates)
    some = link_time(MODEL, changed(STREAMED, inputs_on_device=12), rates)
    assert some.inputs == pytest.approx(0.75 * whole.inputs)
    assert some.weights == whole.weights
    assert link_time(MODEL, changed(STREAMED, inputs_on_device=None), rates).inputs == 0


def test_a_shared_out_base_crosses_between_the_gpus_twice_per_pass() -> None:
    """Of two processes each lacks half; 8 passes gather layers and head forward and backward."""
    shared = from_flat(TrainingSettings, world_size=2, fsdp=True, gradient_accumulation_steps=8)
    rates = rates_of(machine(TURING, TURING))
    found = link_time(MODEL, shared, rates)
    half = gathered_bytes(MODEL, shared.states) / 2
    assert found.groups == 8
    assert found.weights == pytest.approx(half / rates.links.between_gpus)
    time = StepTime(
        matrix=8, memory=0, launch=0, optimizer=1, communication=0, offload=0, link=found
    )
    assert time.exposed > 8
    assert time.bottleneck == "traffic between GPUs"
    assert found.times(16).groups == 16
    fused = link_time(MODEL, changed(shared, loss_kernel=LossKernel.FUSED), rates)
    # The head, 152,064 x 5,120 in bf16, stays where it is, and 2,048 states of 5,120 travel.
    saved = 5_120 * (152_064 - 2 * 2_048)
    assert found.weights - fused.weights == pytest.approx(saved / rates.links.between_gpus)


def test_a_copy_on_each_machine_crosses_the_machines_own_link() -> None:
    """Half of the layers at 0.7 of 25 GB/s; of four over the network three quarters, at 1.25."""
    rig = replace(machine(TURING, TURING), link_bytes_per_second=25e9, nodes=2)
    network = NodeLink(bytes_per_second=1.25e9)
    hardware = from_flat(HardwareSettings, world_size=4, nodes=2, fsdp=True)
    rates = rates_of(used_machine(replace(rig, node_link=network), hardware))
    whole = from_flat(TrainingSettings, world_size=4, nodes=2, fsdp=True)
    layers = gathered_bytes(MODEL, whole.states)
    found = link_time(MODEL, changed(whole, fsdp_per_host=True), rates)
    assert found.weights == pytest.approx(layers / 2 / (0.7 * 25e9))
    assert link_time(MODEL, whole, rates).weights == pytest.approx(layers * 0.75 / (0.7 * 1.25e9))


def test_a_measured_link_goes_before_the_datasheet_and_is_shared_where_all_copy() -> None:
    """25 GB/s alone, 12.5 for each of two; unmeasured cards behind one switch halve its 13.9."""
    copies = HostCopies(to_device=25e9, to_host=24e9, shared=12.5e9)
    measured = replace(TURING, host_copies=copies)
    stated = replace(TURING, host_link_bytes_per_second=16e9)
    switched = replace(stated, uplink_gpus=2)

    def pinned(*devices: Device) -> float:
        host = Host(total_bytes=2**36, available_bytes=2**36, cpu_count=8)
        return rates_of(Machine(name="rig", devices=devices, host=host)).links.pinned

    assert pinned(measured) == 25e9
    assert pinned(measured, measured) == 12.5e9
    assert pinned(stated, stated) == pytest.approx(16e9 * 0.87)
    assert pinned(switched) == pytest.approx(16e9 * 0.87)
    assert pinned(switched, switched) == pytest.approx(8e9 * 0.87)


def test_a_machine_file_that_says_what_two_cards_reach_is_heard_of_the_host_as_well() -> None:
    """Two cards on eight lanes each: 7.84 GB/s, though each card alone could take sixteen."""
    rates = rates_of(replace(machine(TURING, TURING), link_bytes_per_second=7.84e9))
    assert rates.links.pinned == pytest.approx(7.84e9 * 0.87)
