"""Seconds of the forward of one micro-batch, which is what an evaluation runs."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.memory_traffic import forward_traffic
from memory_models.settings import TrainingSettings
from tsplanner.throughput.flops import eight_bit_flops_per_layer, forward_flops
from tsplanner.throughput.host_link import LinkTime, link_time
from tsplanner.throughput.rates import Rates
from tsplanner.throughput.step_parts import StepTime
from tsplanner.throughput.step_time import (
    beside_gathers,
    compiled_shares,
    fetch_seconds,
    gather_seconds,
    gathering_seconds,
    hooked_modules,
    row_attention_seconds,
    streamed_layers_run,
)


def forward_time(
    architecture: Architecture, settings: TrainingSettings, rates: Rates, together: int = 1
) -> StepTime:
    """Seconds of one forward; ``settings`` are those of training, with its micro-batch size.

    Weights that are gathered or offloaded cross their link once, and those of streamed layers once
    for ``together`` forwards.
    """
    link = link_time(architecture, settings, rates)
    shares = compiled_shares(architecture, settings, rates)
    bytes_, tensors = forward_traffic(architecture, settings).shared(shares.memory, shares.launch)
    hooks = hooked_modules(architecture, settings) * rates.host.gather_seconds
    hooks += row_attention_seconds(architecture, settings, rates)
    hooks += gathering_seconds(architecture, settings, rates)
    # The model's own forward runs through its layers before they run, and again behind them.
    walk = streamed_layers_run(architecture, settings, rates) * rates.host.recorded_layer_seconds
    hooks += walk
    return StepTime(
        matrix=_matrix_seconds(architecture, settings, rates),
        memory=bytes_ / rates.written_bytes + beside_gathers(architecture, settings, rates),
        launch=tensors * rates.host.launch_seconds_per_tensor + hooks,
        overlaps=rates.issue_overlaps,
        optimizer=0.0,
        communication=gather_seconds(architecture, settings, rates),
        offload=fetch_seconds(architecture, settings, rates),
        link=LinkTime(weights=link.weights / together, forward_share=1.0, issued_share=1.0),
        recorded=walk,
    )


def _matrix_seconds(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> float:
    layers = architecture.num_hidden_layers
    eight = settings.tokens * layers * eight_bit_flops_per_layer(architecture, settings)
    rest = forward_flops(architecture, settings) - eight
    share = compiled_shares(architecture, settings, rates).matrix
    return share * (
        rest / rates.matrix_flops + eight / rates.eight_bit.of(settings.base.quantization)
    )
