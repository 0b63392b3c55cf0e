"""A run as the report sees it."""

from __future__ import annotations

from tests.support.hand_made import summary


def test_a_base_is_named_by_its_quantization_or_else_by_its_storage_type() -> None:
    """A base in nf4 is stored as nf4, whatever type it was read in."""
    assert summary().model.stored_as == "bf16"
    assert summary(quantization="nf4").model.stored_as == "nf4"


def test_hardware_is_a_number_of_cards_or_the_cpu_itself() -> None:
    """A CPU is not counted."""
    assert summary().hardware.label == "2x Card X"
    assert summary(device="CPU, 2 cores", on_cpu=True).hardware.label == "CPU, 2 cores"


def test_speed_per_device_is_what_different_numbers_of_cards_share() -> None:
    """Two cards make 2 samples per second together, so each makes 1."""
    assert summary().samples_per_second_and_gpu == 1.0
    assert summary(gpus=4).samples_per_second_and_gpu == 0.5
    assert summary(samples_per_second=None).samples_per_second_and_gpu is None
