"""Streamed layers on a real NVIDIA GPU; run with ``make test-gpu``."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from memory_models.settings import Dtype, LossKernel, Quantization  # noqa: E402
from tests.support import tiny  # noqa: E402
from tests.training.streaming.test_streamed_curves import trained  # noqa: E402
from tsplanner.training.streaming.link_speed import device_rates  # noqa: E402
from tsplanner.training.streaming.regions import Region, locked_bytes  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]


def test_a_locked_region_is_pinned_memory_to_torch() -> None:
    """So a copy from it runs beside the work."""
    region = Region(3 * 4096, lock=True)
    region.bytes.fill_(7)
    region.lock()
    assert region.bytes.is_pinned()
    assert region.bytes[4096:].is_pinned()
    assert locked_bytes() >= 3 * 4096
    assert int(region.bytes.cuda(non_blocking=True).sum()) == 7 * 3 * 4096
    region.release()


@pytest.mark.parametrize("dtype", [Dtype.BF16, Dtype.FP16])
@pytest.mark.parametrize("inputs", [None, 0, 1])
def test_every_step_is_that_of_a_resident_base(
    tmp_path: Path, dtype: Dtype, inputs: int | None
) -> None:
    """In half precision, fp16 with its loss scale; four micro-batches, dropout and all."""
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=1, lora_dropout=0.1)
    resident = tiny.with_hardware(
        plan,
        accelerator="cuda",
        model_dtype=dtype,
        autocast=dtype,
        loss_kernel=LossKernel.FUSED,
        micro_batch_size=1,
        gradient_accumulation_steps=4,
        gradient_checkpointing=True,
    )
    expected, _ = trained(resident, tmp_path / "resident")
    streamed = tiny.with_hardware(resident, streamed_layers=3, inputs_on_device=inputs)
    found, _ = trained(streamed, tmp_path / "streamed")
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=2e-3)


@pytest.mark.parametrize("files", [False, True], ids=["in host memory", "in files"])
@pytest.mark.parametrize("form", [None, *Quantization])
def test_a_quantised_base_is_streamed_as_it_is_packed(
    tmp_path: Path, form: Quantization | None, files: bool
) -> None:
    """Losses and norms of a resident base in the same form; layers in files are never rounded."""
    if files and form is not None:
        pytest.skip("a base that is rounded while it is loaded is in no file")
    plan = tiny.with_learning(tiny.plan(tmp_path), num_train_epochs=1)
    resident = tiny.with_hardware(
        plan,
        accelerator="cuda",
        model_dtype=Dtype.BF16,
        autocast=Dtype.BF16,
        quantization=form,
        upcast_unquantized=False,
        micro_batch_size=1,
        gradient_accumulation_steps=4,
        gradient_checkpointing=True,
    )
    expected, _ = trained(resident, tmp_path / "resident")
    streamed = tiny.with_hardware(
        resident, streamed_layers=2, inputs_on_device=0, stream_from_files=files
    )
    found, _ = trained(streamed, tmp_path / "streamed")
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=2e-3)


def test_links_are_measured_card_by_card() -> None:
    """More than PCIe 1.0 over one lane, less than any link of today, and by NVML's names."""
    for found in device_rates():
        assert str(found["uuid"]).startswith("GPU-")
        for name in ("to_device", "to_host", "shared"):
            assert 2.5e8 < float(str(found[name])) < 1e12
