"""What counts as weights, and what is said where there are none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tsplanner.models.weights import (
    INDEX,
    SINGLE,
    WeightFiles,
    conversion,
    damage,
    find_weights,
    read_header,
)


def safetensors(path: Path, size: int = 16, missing: int = 0) -> None:
    """A safetensors file of one tensor of so many bytes, the last ``missing`` of them cut off."""
    tensor = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": tensor}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size - missing))


def index(folder: Path, *shards: str) -> None:
    """An index of one tensor a shard."""
    names = {f"layer.{number}": shard for number, shard in enumerate(shards)}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))


def test_one_file_or_every_shard_of_an_index_are_weights(tmp_path: Path) -> None:
    """As transformers loads them: the single file comes first."""
    assert find_weights(tmp_path) == WeightFiles()
    index(tmp_path, "b.safetensors", "a.safetensors", "b.safetensors")
    for name in ("a.safetensors", "b.safetensors"):
        safetensors(tmp_path / name)
    found = find_weights(tmp_path)
    assert found.files == (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    safetensors(tmp_path / SINGLE)
    assert find_weights(tmp_path).files == (tmp_path / SINGLE,)


def test_missing_shards_are_counted_and_named(tmp_path: Path) -> None:
    """One of three was fetched."""
    names = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    index(tmp_path, *names)
    safetensors(tmp_path / names[0])
    found = find_weights(tmp_path)
    assert found.files == ()
    assert found.problem == (
        f"1 of 3 shards that {INDEX} names are there, and {names[1]} is missing: fetch the rest"
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}', "[" * 100_000])
def test_an_index_that_names_nothing_says_so(tmp_path: Path, content: str) -> None:
    """Cut off, empty, of another form, or nested without end."""
    (tmp_path / INDEX).write_text(content)
    assert find_weights(tmp_path).problem == f"{INDEX} names no shards: fetch it again"


def test_a_shard_outside_the_folder_is_a_missing_one(tmp_path: Path) -> None:
    """An index from a stranger leads nowhere else."""
    safetensors(tmp_path / "outside.safetensors")
    (tmp_path / "model").mkdir()
    index(tmp_path / "model", "../outside.safetensors")
    assert "0 of 1 shards" in str(find_weights(tmp_path / "model").problem)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pytorch_model.bin", "M.from_pretrained("),
        ("pytorch_model-00001-of-00002.bin", "M.from_pretrained("),
        ("model.Q4_K_M.gguf", "gguf_file="),
        ("consolidated.00.pth", "safetensors.torch.save_file"),
    ],
)
def test_weights_of_another_format_are_named_with_the_way_to_convert_them(
    tmp_path: Path, name: str, says: str
) -> None:
    """Beside the rest of a checkpoint, which is no model."""
    for other in (name, "optimizer.pt", "training_args.bin"):
        (tmp_path / other).touch()
    problem = str(find_weights(tmp_path).problem)
    assert problem.startswith(f"the weights are there only as {name}, which tsplanner does not")
    assert says in problem


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    """Nor are the files of a training state."""
    for name in ("adapter_model.safetensors", "adapter_model.bin", "rng_state.pth"):
        (tmp_path / name).touch()
    assert find_weights(tmp_path) == WeightFiles()


def test_a_shard_without_an_index_is_not_loaded(tmp_path: Path) -> None:
    """The index was not fetched."""
    safetensors(tmp_path / "model-00001-of-00002.safetensors")
    assert str(find_weights(tmp_path).problem).startswith(
        f"model-00001-of-00002.safetensors is there without {INDEX}"
    )


def test_the_command_that_converts_is_python(tmp_path: Path) -> None:
    """It compiles, whatever the folder is called."""
    folder = tmp_path / "it's; rm -rf"
    words = conversion(folder, "pytorch_model.bin")
    done = subprocess.run(
        [
            "bash",
            "-c",
            words.replace(
                "python -c", f"{sys.executable} -c 'import ast, sys; ast.parse(sys.argv[1])'", 1
            ),
        ],
        check=False,
    )
    assert done.returncode == 0


def test_damage_is_told_from_the_header_alone(tmp_path: Path) -> None:
    """A whole file, one cut off in its data, in its header, a pointer, and something else."""
    path = tmp_path / SINGLE
    weights = WeightFiles(files=(path,))
    safetensors(path)
    assert damage(weights) is None
    assert b"data_offsets" in read_header(path)
    whole = path.stat().st_size
    safetensors(path, missing=4)
    told = f"is cut off: it has {whole - 4:,} of {whole:,} bytes: fetch it again"
    assert damage(weights) == f"{SINGLE} {told}"
    path.write_bytes(path.read_bytes()[:20])
    assert damage(weights) == f"{SINGLE} is cut off after 20 bytes: fetch it again"
    path.write_bytes(b"")
    assert damage(weights) == f"{SINGLE} is cut off after 0 bytes: fetch it again"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert damage(weights) == f"{SINGLE} is a Git LFS pointer and no weights: run git lfs pull"
    path.write_bytes((4).to_bytes(8, "little") + b"nope")
    assert damage(weights) == f"{SINGLE} has no header of a safetensors file: fetch it again"
    path.unlink()
    assert str(damage(weights)).startswith(f"{SINGLE} cannot be read")
