"""Where the seconds of a training step go on this GPU: kernels by kind, and the clock they ran at.

    python benchmarks/speed/step_profile.py --output FILE [--case JSON]     one case, as a probe runs it
    python benchmarks/speed/step_profile.py report FILE

The case has the keys of ``tsplanner estimate``; without one it is the plan's 8B at 2,048 tokens. The
last optimizer step is looked at: what each kind of kernel takes, how long the GPU waits, and beside
it the clock and the power that NVML reads ten times a second. --cpu tries the script on a tiny model.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.collect.case_plan import plan_of
from benchmarks.speed.gain import PEAK_FLOPS
from memory_models.states.weights import total_parameters
from tsplanner.hardware.detect import detect_machine
from tsplanner.models.source import read_model
from tsplanner.planner.gather.cases import read_case
from tsplanner.probe.process_records import merged_record
from tsplanner.runs import versions, write_json
from tsplanner.training.job import Job, JobKind

CASE = {
    "model": "qwen3-8b",
    "sequence_length": 2048,
    "micro_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "gradient_checkpointing": False,
    "loss_kernel": "fused",
    "decoder_kernels": "compiled",
    "expandable_segments": True,
}
TINY = {
    **CASE,
    "model": "configs/models/tiny-chatts",
    "sequence_length": 64,
    "micro_batch_size": 1,
    "decoder_kernels": "reference",
    "expandable_segments": False,
}
STEPS = 3
KINDS = (
    ("attention", r"flash|fmha|attention|cudnn.*sdpa|sdpa"),
    ("products", r"nvjet|gemm|cutlass|xmma|wgmma|splitk|mm_"),
    ("compiled and fused", r"triton|^_|tsplanner|liger"),
    ("4-bit and 8-bit", r"quantize"),
    ("copies", r"memcpy|memset|copy_kernel"),
)
"""By the first pattern that a kernel's name has; all others are torch's elementwise kernels."""


def kind_of(name: str) -> str:
    """The row of the table that a kernel belongs to."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name, re.I)), "elementwise")


def watch(found: list[tuple[float, int, int]], stop: threading.Event) -> None:
    """Read the clock [MHz] and the power [W] until told to stop."""
    import pynvml

    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    while not stop.wait(0.1):
        clock = pynvml.nvmlDeviceGetClockInfo(device, pynvml.NVML_CLOCK_SM)
        found.append((time.time(), clock, pynvml.nvmlDeviceGetPowerUsage(device) // 1000))


def measure(case: dict[str, Any], *, cuda: bool) -> dict[str, Any]:
    """Run the case under torch's profiler and sum up its last step."""
    from torch.profiler import ProfilerActivity, profile

    from tsplanner.training.worker import environment_variables

    environment_variables.set_defaults()
    from tsplanner.training.worker.entry import main as work

    plan = plan_of(read_case(case, {}), case, detect_machine())
    folder = Path(tempfile.mkdtemp())
    job = Job(kind=JobKind.PROBE, plan=plan, folder=str(folder), probe_steps=STEPS)
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    clocks: list[tuple[float, int, int]] = []
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(clocks, stop))
    if cuda:
        watcher.start()
    kind = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU
    with profile(activities=[kind]) as profiler:
        status = work([str(folder / "job.json")])
    ended = time.time()
    stop.set()
    record = merged_record(folder, 1)
    if status or record is None or record.status != "ok":
        raise SystemExit(f"the run ended with {status}: {record and record.message}")
    trace = folder / "trace.json"
    profiler.export_chrome_trace(str(trace))
    step = record.timing.step_seconds[-1]
    events = json.loads(trace.read_text())["traceEvents"]
    return {
        "case": case,
        "step_seconds": list(record.timing.step_seconds),
        "foretold_seconds": plan.time.step_seconds,
        **summed(events, step, ("kernel", "gpu_memcpy", "gpu_memset") if cuda else ("cpu_op",)),
        "clock_mhz": [clock for at, clock, _ in clocks if at > ended - step],
        "power_w": [power for at, _, power in clocks if at > ended - step],
    }


def summed(events: list[dict[str, Any]], step: float, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Seconds by kind and by kernel within the last ``step`` seconds of the GPU's work."""
    kernels = [each for each in events if each.get("cat") in kinds and "dur" in each]
    end = max(each["ts"] + each["dur"] for each in kernels)
    last = [each for each in kernels if each["ts"] > end - 1e6 * step]
    by_kind, by_name, calls = Counter[str](), Counter[str](), Counter[str]()
    for each in last:
        by_kind[kind_of(each["name"])] += each["dur"] / 1e6
        by_name[each["name"][:120]] += each["dur"] / 1e6
        calls[each["name"][:120]] += 1
    busy = sum(by_kind.values())
    return {
        "seconds_by_kind": dict(by_kind.most_common()),
        "waiting_seconds": step - busy,
        "kernels": [[name, calls[name], took] for name, took in by_name.most_common(40)],
    }


def report(document: dict[str, Any]) -> None:
    """The table of a file."""
    found = document["found"]
    case, step = found["case"], found["step_seconds"][-1]
    parameters = total_parameters(read_model(case["model"]).architecture)
    rows = case["micro_batch_size"] * case.get("gradient_accumulation_steps", 1)
    flops = 4 * parameters * rows * case["sequence_length"]
    print(f"{case['model']} at {case['sequence_length']}: {step:.3f} s a step under the profiler")
    for kind, took in found["seconds_by_kind"].items():
        print(f"  {kind:20s} {took:7.3f} s  {100 * took / step:5.1f} %")
    print(f"  {'waiting':20s} {found['waiting_seconds']:7.3f} s")
    if found["seconds_by_kind"].get("products"):
        rate = flops / found["seconds_by_kind"]["products"]
        print(
            f"  4N over the products alone: {rate / 1e12:.0f} TFLOP/s, {rate / PEAK_FLOPS:.2f} of the peak"
        )
    if found["clock_mhz"]:
        clock = sorted(found["clock_mhz"])[len(found["clock_mhz"]) // 2]
        power = sorted(found["power_w"])[len(found["power_w"]) // 2]
        print(f"  median of {len(found['clock_mhz'])} readings: {clock} MHz, {power} W")


def main() -> None:
    """Measure or report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", nargs="?", choices=("report",))
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--case", default="", help="its keys, as JSON")
    parser.add_argument("--cpu", action="store_true", help="try the script on a tiny model")
    options = parser.parse_args()
    if options.verb:
        report(json.loads(options.file.read_text()))
        return
    case = json.loads(options.case) if options.case else TINY if options.cpu else CASE
    found = measure(case, cuda=not options.cpu)
    device = detect_machine().devices
    document = {
        "device": device[0].name if device else "cpu",
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "found": found,
    }
    write_json(options.output, document)
    report(document)


if __name__ == "__main__":
    main()
