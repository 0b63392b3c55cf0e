"""Machines that are described instead of looked at."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_models.device import LinkType
from tsplanner.errors import TsplannerError, UsageError
from tsplanner.hardware.describe import (
    MAX_GPUS,
    described_link,
    parse_gpus,
    read_machine_file,
    shipped_machines,
)

GIB = 1024**3
CONFIGS = Path(__file__).parents[2] / "configs" / "machines"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("H200", ["H200"]),
        ("2x RTX 2080 Ti 22GiB", ["RTX 2080 Ti"] * 2),
        ("8xH100 80GB", ["H100 SXM5"] * 8),
        ("2 \u00d7 4090", ["RTX 4090"] * 2),
        ("RTX 3090 x2", ["RTX 3090"] * 2),
        ("1x A100 80GiB + 1x RTX 3090", ["A100 SXM4 80GB", "RTX 3090"]),
        ("L4, L4", ["L4", "L4"]),
        ("a100-80gb:8", ["A100 SXM4 80GB"] * 8),
        ("RTX 3090: 2", ["RTX 3090"] * 2),
        ("2x 24GiB sm_86", ["24GiB sm_86"] * 2),
        ("cpu", []),
        ("none", []),
    ],
)
def test_parse_gpus_reads_the_forms_people_write(text: str, names: list[str]) -> None:
    """Counts before or after, sums, and no GPU at all."""
    assert [device.name for device in parse_gpus(text)] == names


def test_a_described_gpu_carries_datasheet_rates_and_what_an_idle_card_leaves() -> None:
    """What is not here cannot be asked: the catalogue and the assumed reserve stand in."""
    (device,) = parse_gpus("RTX 2080 Ti 22GiB")
    assert device.total_bytes == 22 * GIB
    assert round(device.free_bytes / GIB, 1) == 21.6
    assert device.compute_capability == (7, 5)
    assert not device.has_bf16
    assert device.matrix_flops_per_second == 56.9e12
    assert device.memory_bytes_per_second == 616e9
    assert device.host_link_bytes_per_second == pytest.approx(15.76e9)


def test_any_card_can_be_described_by_memory_and_compute_capability() -> None:
    """It is taken to be as slow as the slowest card of its kind and size, here an RTX 3060."""
    (device,) = parse_gpus("12.5GB sm_86")
    assert device.total_bytes == 12.5 * GIB
    assert device.compute_capability == (8, 6)
    assert device.matrix_flops_per_second == 25.5e12
    assert device.memory_bytes_per_second == 288e9  # of an RTX A2000, which has 12 GiB too
    assert parse_gpus("32GiB sm_120")[0].compute_capability == (12, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("24GiB sm_55", "one of sm_70, sm_75"),
        ("P100", "compute capability 6.0, and current builds of PyTorch"),
        ("P40", "compute capability 6.1"),
        ("16GiB sm_60", "compute capability 6.0"),
        ("0GiB sm_86", "write the memory in GiB"),
        ("", "names no GPU"),
        ("2x", "unknown GPU"),
        ("H200 +", "names no GPU"),
        ("0x H200", "must be 1 to 4096"),
        ("9000x H200", "must be 1 to 4096"),
        ("4000x H200 + 4000x H200", "are 8000 GPUs"),
        ("2x RTX 6000", "can be Quadro RTX 6000 24GiB"),
        ("2x RTX 2080Tee 22GiB", 'Did you mean "RTX 2080 Ti"'),
    ],
)
def test_parse_gpus_refuses_in_one_sentence(text: str, words: str) -> None:
    """A wrong description is a wrong call, answered with what to write."""
    with pytest.raises(UsageError, match=words) as refusal:
        parse_gpus(text)
    assert "\n" not in str(refusal.value)


GPU_LIKE = st.lists(
    st.sampled_from(["2x", "x", "RTX", "6000", "H100", "80GB", "22GiB", "+", ",", " ", "Ti", "²"])
    | st.text(max_size=6),
    max_size=8,
).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(st.text() | GPU_LIKE)
def test_parse_gpus_raises_nothing_but_usage_errors(text: str) -> None:
    """Whatever is typed, the answer is a machine or a sentence."""
    devices = ()
    with suppress(UsageError):
        devices = parse_gpus(text)
    assert len(devices) <= MAX_GPUS
    assert all(0 < device.free_bytes < device.total_bytes for device in devices)


def test_boards_with_built_in_nvlink_have_it_and_bridges_are_not_assumed() -> None:
    """Two H200 are wired, two RTX 3090 only with a bridge that nobody mentioned."""
    wired = described_link(parse_gpus("2x H200"))
    assert wired is not None
    assert (wired.kind, wired.bytes_per_second) == (LinkType.NVLINK, 450e9)
    bridged = described_link(parse_gpus("2x RTX 3090"))
    assert bridged is not None
    assert bridged.kind is LinkType.PCIE
    assert described_link(parse_gpus("H200")) is None


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_machine_loads(path: Path) -> None:
    """The example files are examples of files that work."""
    machine = read_machine_file(path)
    assert not machine.detected
    count, _, rest = path.stem.partition("x-")
    assert len(machine.devices) == (int(count) if rest else 0)
    assert (machine.link is not None) == (len(machine.devices) > 1)


def test_shipped_machines_are_found_by_name() -> None:
    """``--machine 2x-rtx-2080-ti-22gib`` needs no path."""
    machine = read_machine_file(Path("2x-rtx-2080-ti-22gib"))
    assert [device.total_bytes for device in machine.devices] == [22 * GIB, 22 * GIB]
    assert machine.host.total_bytes == 64 * GIB
    assert machine.host.available_bytes == 62 * GIB
    assert machine.link is LinkType.PCIE


def write(folder: Path, text: str) -> Path:
    """A machine file."""
    path = folder / "rig.yaml"
    path.write_text(text)
    return path


def test_machine_file_fills_what_is_left_out(tmp_path: Path) -> None:
    """Two keys are enough; the name is the file's and the packages are the assumed ones."""
    machine = read_machine_file(write(tmp_path, "gpus: 2x RTX 3090\nhost_memory_gib: 4\n"))
    assert machine.name == "rig"
    assert machine.packages == ("bitsandbytes", "deepspeed")
    assert machine.host.available_bytes == 3 * GIB
    assert machine.host.disk_free_bytes is None


def test_machine_file_may_say_how_many_machines_there_are(tmp_path: Path) -> None:
    """And what joins them: 25 Gbit/s are 3.125 GB/s."""
    text = "gpus: 2x RTX 3090\nhost_memory_gib: 64\nnodes: 3\n"
    machine = read_machine_file(write(tmp_path, text))
    assert (machine.nodes, len(machine.devices)) == (3, 2)
    assert machine.node_link is not None
    assert machine.node_link.assumed == "Ethernet"
    machine = read_machine_file(write(tmp_path, text + "node_link_gbit_per_second: 25\n"))
    assert machine.node_link is not None
    assert machine.node_link.bytes_per_second == 3.125e9


def test_machine_file_may_name_a_bridge(tmp_path: Path) -> None:
    """A bridged pair of RTX 3090 has NVLink at the datasheet's rate, or at the one written."""
    text = "gpus: 2x RTX 3090\nhost_memory_gib: 64\nlink: nvlink\n"
    machine = read_machine_file(write(tmp_path, text))
    assert (machine.link, machine.link_bytes_per_second) == (LinkType.NVLINK, 56.25e9)
    machine = read_machine_file(write(tmp_path, text + "link_gib_per_second: 40\n"))
    assert machine.link_bytes_per_second == 40 * GIB


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpu: H200\nhost_memory_gib: 4\n", 'unknown key "gpu".* Did you mean "gpus"'),
        ("gpus: H200\n", '"host_memory_gib" is missing'),
        ("gpus: H200\nhost_memory_gib: lots\n", "host_memory_gib must be a number above 0"),
        ("gpus: H200\nhost_memory_gib: .inf\n", "host_memory_gib must be a number above 0"),
        ("gpus: H200\nhost_memory_gib: 4\ncpu_count: 1.5\n", "cpu_count must be an integer"),
        ("gpus: H200\nhost_memory_gib: 4\nlink: scsi\n", "link must be nvlink or pcie"),
        ("gpus: 2x L4\nhost_memory_gib: 4\nlink: nvlink\n", "the L4 has no NVLink"),
        ("gpus: H200\nhost_memory_gib: 4\npackages: [torch]\n", "packages must be a list of"),
        ("gpus: 3\nhost_memory_gib: 4\n", "gpus must be a text"),
        ("- a\n", "expected keys"),
        ("gpus: [\n", "line 2 is not valid YAML"),
        ("gpus: !!python/object:os.system {}\n", "is not valid YAML"),
    ],
)
def test_machine_file_mistakes_are_named_with_the_file(
    tmp_path: Path, text: str, words: str
) -> None:
    """What is wrong, in which file, and how to fix it."""
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=words) as refusal:
        read_machine_file(path)
    assert str(path) in str(refusal.value)


def test_a_machine_file_that_is_not_there_is_an_expected_failure(tmp_path: Path) -> None:
    """The file's name is in the sentence."""
    with pytest.raises(TsplannerError, match="cannot read machine file"):
        read_machine_file(tmp_path / "missing.yaml")


def test_a_thousand_gpus_are_one_machine() -> None:
    """Racks are planned for as one machine, and a slip of the pen is still refused."""
    assert len(parse_gpus("1000x H100 80GB")) == 1000
    with pytest.raises(UsageError, match="1 to 4096"):
        parse_gpus("5000x H100 80GB")


def test_a_machine_file_of_references_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    """Each level repeats the one below ten times; the message shows a few characters."""
    path = tmp_path / "rig.yaml"
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    path.write_text("gpus: &a0 [1]\n" + "\n".join(lines))
    with pytest.raises(UsageError, match="gpus must be a text") as caught:
        read_machine_file(path)
    assert len(str(caught.value)) < 300


def test_a_machine_by_half_a_name_is_told_those_that_there_are(tmp_path: Path) -> None:
    """No help lists them."""
    with pytest.raises(TsplannerError) as caught:
        read_machine_file(Path("h100"))
    assert 'No such file or directory. Did you mean "8x-h100-80gib"?' in str(caught.value)
    assert "come with tsplanner: 1x-h200-141gib, 1x-quadro" in str(caught.value)
    assert "cpu-16gib" in shipped_machines()
