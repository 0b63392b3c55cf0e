"""A frozen base in 8 bits: which form a card multiplies, what refuses it, a plan's twin in it.

The planner looks for such a base where rounding is allowed or asked for. Elsewhere it shows what
the chosen plan would gain by it.
"""

from __future__ import annotations

from dataclasses import replace

from memory_models.settings import Dtype, Quantization
from tsplanner.models.quantized import stored_base
from tsplanner.planner.devices import used_devices
from tsplanner.planner.explain.reasons import Data
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings

CAPABILITIES = {Quantization.FP8: (8, 9), Quantization.W8A8: (7, 5)}
"""Compute capability from which tensor cores multiply a form, the preferred form first.

Source: NVIDIA's Ada and Turing whitepapers. fp8 was measured on an H200 alone, w8a8 on no card.
"""
HALF = (Dtype.BF16, Dtype.FP16)


def eight_bit_form(capability: tuple[int, int], *, bf16: bool) -> Quantization | None:
    """The form that a card multiplies in 8 bits; None: it has none. fp8 gives results in bf16."""
    for form, least in CAPABILITIES.items():
        if capability >= least and (bf16 or form is not Quantization.FP8):
            return form
    return None


def rounds_products(request: PlanRequest) -> bool:
    """Whether the products of this model can be 8-bit products: its base is frozen and whole."""
    formula = not (request.architecture.layer.recorded or request.model.trust_remote_code)
    whole = stored_base(request.model.config) is None
    return formula and whole and request.learning.method.uses_adapter


def eight_bit_twin(request: PlanRequest, hardware: HardwareSettings) -> HardwareSettings | None:
    """The same settings with the base in 8 bits; None: the base is pinned, or nothing would."""
    against = hardware.accelerator == "cpu" or hardware.base.quantization is not None
    against = against or hardware.sharding.zero_stage > 0 or hardware.streaming.streams
    if against or "quantization" in request.pins or not rounds_products(request):
        return None
    used = used_devices(request.machine, hardware)
    lowest = min(device.compute_capability for device in used)
    form = eight_bit_form(lowest, bf16=hardware.base.model_dtype is Dtype.BF16)
    if form is None:
        return None
    return replace(hardware, base=replace(hardware.base, quantization=form))


def eight_bit_capability(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """The tensor cores of a GPU have no such products."""
    form = hardware.base.quantization
    if form not in CAPABILITIES or hardware.accelerator == "cpu":
        return None
    used = used_devices(request.machine, hardware)
    major, minor = min(device.compute_capability for device in used)
    least = CAPABILITIES[form]
    if (major, minor) >= least:
        return None
    return {
        "quantization": form,
        "least": f"{least[0]}.{least[1]}",
        "capability": f"{major}.{minor}",
    }


def eight_bit_dtype(_: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Rows that a GPU's 8-bit products do not give back: fp8 gives bf16, w8a8 either half."""
    form, dtype = hardware.base.quantization, hardware.base.model_dtype
    if form not in CAPABILITIES or hardware.accelerator == "cpu":
        return None
    able = (Dtype.BF16,) if form is Quantization.FP8 else HALF
    return None if dtype in able else {"quantization": form, "dtype": dtype, "able": able[0]}


def eight_bit_family(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Layers without a formula are not sized in this form."""
    form = hardware.base.quantization
    recorded = request.architecture.layer.recorded or request.model.trust_remote_code
    if form not in CAPABILITIES or not recorded:
        return None
    return {"quantization": form, "model_type": request.model.model_type}
