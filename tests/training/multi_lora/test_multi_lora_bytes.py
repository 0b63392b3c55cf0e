"""What the layers of a shared base keep against what autograd really keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM

from memory_models.activations.layers import layer_totals
from memory_models.rounding import block_bytes
from memory_models.settings import (
    DecoderKernels,
    Dtype,
    LossKernel,
    TrainingSettings,
    changed,
    from_flat,
)
from tsplanner.models.config import Config
from tsplanner.models.decoders import READERS
from tsplanner.training.kernels.fused_kernels import use_fused_kernels
from tsplanner.training.multi_lora.linears import TrialLayout, TrialRows, use_multi_lora_adapters

RANKS, LENGTH, MICRO = (2, 4, 9), 128, 2
CONFIG: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}


def shared_base(dtype: torch.dtype, *, fused: bool) -> tuple[Any, TrialLayout]:
    """A decoder with three adapters on every linear, and the layout of a pass."""
    from peft import get_peft_model

    torch.manual_seed(0)
    keys = {key: value for key, value in CONFIG.items() if key != "model_type"}
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **keys), dtype=dtype)
    if fused:
        use_fused_kernels(base)
    wrapped: Any = None
    for number, rank in enumerate(RANKS):
        config = LoraConfig(r=rank, target_modules=r".*_proj", task_type="CAUSAL_LM")
        if wrapped is None:
            wrapped = get_peft_model(base, config, adapter_name="t0")
        else:
            wrapped.add_adapter(f"t{number}", config)
    for name, parameter in base.named_parameters():
        parameter.requires_grad_("lora_" in name)
    layout = TrialLayout()
    layout.segments = tuple(TrialRows(f"t{number}") for number in range(len(RANKS)))
    use_multi_lora_adapters(base, layout)
    return base, layout


def kept_by_layers(base: Any, *, autocast: bool) -> int:
    """Bytes of the distinct storages that the two layers save; parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in base.parameters()}
    found: dict[int, torch.UntypedStorage] = {}
    inside = [False]

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        counts = inside[0] and storage.data_ptr() not in own and tensor.is_floating_point()
        if counts and tensor.numel() > LENGTH * MICRO * len(RANKS):  # no single number a row
            found[storage.data_ptr()] = storage
        return tensor

    for layer in base.model.layers:
        layer.register_forward_pre_hook(lambda *_: inside.__setitem__(0, True))
        layer.register_forward_hook(lambda *_: inside.__setitem__(0, False))
    ids = torch.arange(LENGTH).repeat(MICRO * len(RANKS), 1) % 256
    context = torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast)
    with context, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        base.model(input_ids=ids, use_cache=False)
    return sum(block_bytes(storage.nbytes()) for storage in found.values())


@pytest.mark.parametrize("kernels", [DecoderKernels.REFERENCE, DecoderKernels.FUSED])
def test_what_trials_on_one_base_keep_is_what_the_program_says(kernels: DecoderKernels) -> None:
    """Three trials of ranks 2, 4 and 9 on a bf16 base under autocast, within 3 %."""
    base, _ = shared_base(torch.bfloat16, fused=kernels is DecoderKernels.FUSED)
    settings = from_flat(
        TrainingSettings,
        adapter_ranks=RANKS,
        micro_batch_size=MICRO,
        sequence_length=LENGTH,
        gradient_checkpointing=False,
        loss_kernel=LossKernel.FUSED,
        decoder_kernels=kernels,
        model_dtype=Dtype.BF16,
        autocast=Dtype.BF16,
    )
    architecture = READERS["qwen2"]("x", Config(CONFIG, "config.json"))
    said = layer_totals(architecture, settings).all_kept
    assert said == pytest.approx(kept_by_layers(base, autocast=True), rel=0.03)


def test_one_trial_on_a_base_takes_what_a_fused_run_takes() -> None:
    """And k trials have k times its adapters, gradients and states on one base."""
    from memory_models.estimate import estimate_memory

    architecture = READERS["qwen2"]("x", Config(CONFIG, "config.json"))
    alone = from_flat(
        TrainingSettings,
        lora_rank=4,
        sequence_length=LENGTH,
        loss_kernel=LossKernel.FUSED,
        decoder_kernels=DecoderKernels.FUSED,
        gradient_checkpointing=False,
    )
    solo = estimate_memory(architecture, alone)
    one = estimate_memory(architecture, changed(alone, adapter_ranks=(4,)))
    three = estimate_memory(architecture, changed(alone, adapter_ranks=(4, 4, 4)))
    assert one.peak_allocated_bytes == solo.peak_allocated_bytes
    parts = {part.name: part.bytes for part in solo.components}
    shared_parts = {part.name: part.bytes for part in three.components}
    assert shared_parts["base weights"] == parts["base weights"]
    assert shared_parts["optimizer states"] == 3 * parts["optimizer states"]
    assert three.parameters_trainable == 3 * solo.parameters_trainable
