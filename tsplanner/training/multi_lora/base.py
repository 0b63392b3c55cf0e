"""The frozen base that several trials share, with the adapters that are on it now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import set_seed

from memory_models.settings import Attention
from tsplanner.planner.plan import Plan
from tsplanner.training import adapters
from tsplanner.training.kernels.compiled.install import use_kernels
from tsplanner.training.kernels.row_attention import use_row_attention
from tsplanner.training.language_model import read_text_alone
from tsplanner.training.multi_lora.linears import TrialLayout, use_multi_lora_adapters
from tsplanner.training.packing.setup import positions_of
from tsplanner.training.solo.checkpointed_layers import checkpoint_first


class SharedBase:
    """Adapters come and go; the base stays as it was loaded."""

    def __init__(self, base: Any, plan: Plan) -> None:
        self.base, self.plan = base, plan
        self.layout = TrialLayout()
        self.positions_of = positions_of(base.config)
        """Decoder positions of a row."""
        self.names: list[str] = []
        """Names of the adapters that are being trained."""
        self.wrapped: Any = None
        """PEFT's model, once there is an adapter."""
        base.requires_grad_(False)
        read_text_alone(base)
        flex = plan.hardware.kernels.attention is Attention.FLEX_ATTENTION
        if plan.hardware.batch.is_packed or flex:
            use_row_attention(base, flex=flex)
        # Before the adapters, whose forward multi-LoRA replaces.
        use_kernels(base, plan.hardware.kernels.decoder_kernels, alone=False)

    def add(self, name: str, plan: Plan, steps: int) -> list[Tensor]:
        """Add an adapter with the weights that a run of its own would draw; returns its parameters.

        Raises TsplannerError for a target the model does not have.
        """
        config = adapters.adapter_config(plan, self.base, steps)
        set_seed(plan.learning.seed)
        with adapters.drawn_once():
            if self.wrapped is None:
                self._wrap(name, config)
            else:
                self.wrapped.add_adapter(name, config)
        use_multi_lora_adapters(self.base, self.layout)
        self.names.append(name)
        self._train_all()
        return adapter_parameters(self.base, name)

    def _wrap(self, name: str, config: Any) -> None:
        from peft import get_peft_model

        hardware = self.plan.hardware
        self.wrapped = get_peft_model(self.base, config, adapter_name=name)
        if hardware.batch.gradient_checkpointing:
            options = {"use_reentrant": False}
            self.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
            checkpoint_first(self.base, hardware.batch.checkpointed_layers)
        # A loaded model is in eval mode, in which layers ignore their flag for checkpointing
        # (transformers, modeling_layers.py).
        self.base.train()

    def remove(self, name: str) -> None:
        """Take an adapter off."""
        self.names.remove(name)
        if self.names:
            self._activate(self.names[0])
        self.wrapped.delete_adapter(name)
        self._train_all()

    def save(self, name: str, path: Path) -> None:
        """Write one adapter as PEFT does, which puts a named adapter into a folder of its name."""
        self._activate(name)  # the model card is made from the active one
        self.wrapped.save_pretrained(str(path), selected_adapters=[name])
        self._train_all()
        own = path / name
        for file in own.iterdir():
            file.replace(path / file.name)
        own.rmdir()

    def _activate(self, name: str) -> None:
        """PEFT wants one active adapter, and freezes the others."""
        self.wrapped.set_adapter(name)

    def _train_all(self) -> None:
        for name in self.names:
            for parameter in adapter_parameters(self.base, name):
                parameter.requires_grad_(True)


def adapter_parameters(model: nn.Module, name: str) -> list[Tensor]:
    """The parameters of one adapter, in the model's order."""
    return [
        parameter
        for key, parameter in model.named_parameters()
        # Whole parts of a name are compared, because trial1 is also the beginning of trial10.
        if "lora_" in key and name in key.split(".")
    ]
