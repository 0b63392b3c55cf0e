"""What a plan is for, on the screen: the model, the data and the machine."""

from __future__ import annotations

from memory_models.device import Device, Machine
from memory_models.units import counted, format_gib
from tsplanner.commands.views.dataset import dataset_lines
from tsplanner.commands.views.screen import Screen
from tsplanner.planner.request import PlanRequest


def print_subject(screen: Screen, request: PlanRequest) -> None:
    """Print the model, the data and the machine, a line each."""
    model, dataset = request.model, request.dataset
    parts = [
        model.name,
        f"{short_count(model.parameters_total)} parameters "
        f"({short_count(model.parameters_trainable)} trained)",
    ]
    if dataset.lengths.rows_kept:
        parts.append(
            f"{dataset.lengths.rows_kept:,} of {counted(dataset.lengths.rows_total, 'row')} kept"
        )
        parts.append(f"longest batch {dataset.sequence_length(2):,} tokens")
    else:
        parts.append(f"no dataset: samples of {dataset.lengths.longest:,} tokens")
    screen.line()
    screen.line(" · ".join(parts), "bold")
    for words, style in dataset_lines(dataset):
        screen.line(words, style)
    for line in machine_lines(request.machine, on_cpu=request.on_cpu):
        screen.line(line)
    screen.line()


def machine_lines(machine: Machine, *, on_cpu: bool) -> list[str]:
    """The machine in one line, and a line for every process that holds memory on a GPU."""
    host = machine.host
    limit = f" ({host.memory_limited_by} limit)" if host.memory_limited_by != "host" else ""
    known = " assumed" if host.assumed else ""
    ram = (
        f"{format_gib(host.total_bytes)} GiB RAM{known}{limit}, "
        f"{format_gib(host.available_bytes)} free"
    )
    if on_cpu:
        word = "no GPU: the CPU" if not machine.devices else "the CPU, as asked"
        return [f"{word} · {host.cpu_count} cores · {ram}"]
    device = min(machine.devices, key=lambda found: found.free_bytes)
    parts = _cards(machine)
    if machine.link is not None:
        rate = machine.link_bytes_per_second
        parts.append(f"{machine.link}{f' {rate / 1e9:.0f} GB/s' if rate else ''}")
    if machine.nodes > 1:
        parts[0] = f"{machine.nodes} machines, each with {parts[0]}"
        if machine.node_link is not None:
            known = "" if machine.node_link.assumed is None else " assumed"
            parts.append(f"network {machine.node_link.gbit_per_second:,.0f} Gbit/s{known}")
    if device.mig:
        parts.append("MIG slice")
    others = [
        f"  {process.name} (pid {process.pid}) holds "
        + (format_gib(process.used_bytes, unit=True) if process.used_bytes else "memory")
        + f" on {found.name}"
        for found in machine.devices
        for process in found.processes
    ]
    return [" · ".join([*parts, ram]), *others]


def _cards(machine: Machine) -> list[str]:
    """Each kind and size of card with its memory and its precision."""
    kinds: dict[tuple[str, int], list[Device]] = {}
    for device in machine.devices:
        kinds.setdefault((device.name, device.total_bytes), []).append(device)
    parts = []
    for (name, _), cards in kinds.items():
        free = min(card.free_bytes for card in cards)
        major, minor = cards[0].compute_capability
        precision = "bf16" if cards[0].has_bf16 else "fp16, no FlashAttention-2"
        parts += [
            f"{len(cards)}x {name}",
            f"{format_gib(cards[0].total_bytes)} GiB each, {format_gib(free)} free",
            f"sm_{major}{minor}: {precision}",
        ]
    return parts


def short_count(value: int) -> str:
    """A count in M or B."""
    if value >= 1_000_000_000:
        return f"{value / 1e9:.2f}B"
    if value >= 100_000:
        return f"{value / 1e6:.2f}M"
    return f"{value:,}"
