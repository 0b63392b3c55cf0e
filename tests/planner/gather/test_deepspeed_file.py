"""A user's own DeepSpeed configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import Dtype
from memory_models.sharding.partition import partition_of
from tsplanner.errors import UsageError
from tsplanner.planner.gather.cases import read_case
from tsplanner.planner.gather.deepspeed_file import merged, read_deepspeed

TUTORIAL: dict[str, Any] = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "fp16": {"enabled": "auto"},
    "bf16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 3,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "sub_group_size": 1e9,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        "stage3_max_live_parameters": 1e9,
        "stage3_max_reuse_distance": 1e9,
        "stage3_gather_16bit_weights_on_model_save": True,
    },
}
"""The file for ZeRO-3 that most tutorials and trainers ship."""


def write(folder: Path, document: object) -> Path:
    """ds_config.json."""
    path = folder / "ds_config.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def changed(stage: int = 3, top: dict[str, Any] | None = None, **zero: Any) -> dict[str, Any]:
    """The tutorial's file with other values."""
    return {
        **TUTORIAL,
        **(top or {}),
        "zero_optimization": {**TUTORIAL["zero_optimization"], "stage": stage, **zero},
    }


def test_the_usual_file_is_read_without_a_word(tmp_path: Path) -> None:
    """A billion each, "auto" where transformers fills in, no offload, the plan's own precision."""
    found = read_deepspeed(write(tmp_path, TUTORIAL))
    config = found.config
    assert config.sub_group_size == config.stage3_max_live_parameters == 1_000_000_000
    assert (config.reduce_bucket_size, config.stage3_prefetch_bucket_size) == (None, None)
    assert found.pins == {
        "zero_stage": 3,
        "offload_param": False,
        "offload_optimizer": False,
    }
    assert found.effective_batch_size is None
    assert config.warnings == ()
    assert json.loads(config.text) == TUTORIAL


@pytest.mark.parametrize(
    ("name", "stage", "optimizer", "parameters", "bucket"),
    [
        ("zero1", 1, False, False, 200_000_000),
        ("zero2", 2, False, False, 200_000_000),
        ("zero2_offload", 2, True, False, 200_000_000),
        ("zero3", 3, False, False, None),
        ("zero3_offload", 3, True, True, None),
    ],
)
def test_the_names_that_ms_swift_has_for_its_files_are_read(
    name: str, stage: int, *, optimizer: bool, parameters: bool, bucket: int | None
) -> None:
    """Buckets of 2e8 elements below stage 3, and there by the width of the model."""
    found = read_deepspeed(Path(name))
    assert found.pins == {
        "zero_stage": stage,
        "offload_optimizer": optimizer,
        "offload_param": parameters,
    }
    assert found.config.reduce_bucket_size == bucket
    assert not found.config.overlap_comm


def test_a_file_of_such_a_name_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 1 in a file called zero3."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zero3").write_text(json.dumps(changed(stage=1)))
    assert read_deepspeed(Path("zero3")).pins["zero_stage"] == 1
    with pytest.raises(UsageError, match="--deepspeed zero4 cannot be read"):
        read_deepspeed(Path("zero4"))
    with pytest.raises(UsageError, match="stage 0 shards nothing: leave out --deepspeed for DDP"):
        read_deepspeed(Path("zero0"))


def test_names_without_their_beginning_and_zeros_are_read_as_deepspeed_reads_them(
    tmp_path: Path,
) -> None:
    """The file that axolotl ships: a sub-group for each tensor, nothing gathered ahead or kept."""
    zero = {
        "stage": 3,
        "sub_group_size": 0,
        "max_live_parameters": 0,
        "max_reuse_distance": 0,
        "gather_16bit_weights_on_model_save": True,
    }
    path = write(tmp_path, {"bf16": {"enabled": True}, "zero_optimization": zero})
    config = read_deepspeed(path).config
    assert config.sub_group_size == 0
    assert (config.stage3_max_live_parameters, config.stage3_max_reuse_distance) == (0, 0)
    assert config.warnings == ()
    # Where both stand, DeepSpeed takes the full name.
    both = {**zero, "stage3_max_live_parameters": 7}
    path = write(tmp_path, {"bf16": {"enabled": True}, "zero_optimization": both})
    assert read_deepspeed(path).config.stage3_max_live_parameters == 7


def test_what_is_off_needs_no_size(tmp_path: Path) -> None:
    """ms-swift writes the options of ZeRO++ down, all off."""
    off = changed(zero_quantized_weights=False, zero_hpz_partition_size=1)
    (warning,) = read_deepspeed(write(tmp_path, off)).config.warnings
    assert warning == "zero_optimization.zero_hpz_partition_size is not sized"


def test_without_sub_groups_a_step_takes_the_largest_tensor(tmp_path: Path) -> None:
    """On each of two processes it has half of Qwen2.5-0.5B's embedding, 151,936 x 896 / 2."""
    zero = {"stage": 3, "sub_group_size": 0}
    path = write(tmp_path, {"bf16": {"enabled": True}, "zero_optimization": zero})
    given = {"finetuning_type": "full", "world_size": 2, "deepspeed": str(path)}
    found = read_case({"model": "qwen2.5-0.5b", **given}, {})
    shares = partition_of(found.architecture, found.settings.states).shares
    assert max(shares) == 151_936 * 896 // 2
    # Embedding, final norm, and of each of 24 layers seven matrices, three biases and its norms.
    assert len(shares) == 2 + 24 * 11


def test_what_the_file_leaves_out_has_deepspeeds_default(tmp_path: Path) -> None:
    """Half a billion elements for the bucket, 50 million ahead, 100,000 whole."""
    config = read_deepspeed(
        write(tmp_path, {"bf16": {"enabled": True}, "zero_optimization": {"stage": 3}})
    ).config
    assert config.reduce_bucket_size == 500_000_000
    assert config.stage3_prefetch_bucket_size == 50_000_000
    assert config.stage3_param_persistence_threshold == 100_000
    assert config.sub_group_size == 1_000_000_000
    assert config.overlap_comm


def test_numbers_are_pinned(tmp_path: Path) -> None:
    """Stage, offload, precision and the batch."""
    top = {
        "train_batch_size": 32,
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 4,
        "fp16": {"enabled": True},
        "zero_force_ds_cpu_optimizer": False,
    }
    pinned = {"device": "cpu", "pin_memory": True}
    document = changed(2, top, offload_optimizer=pinned, round_robin_gradients=True)
    found = read_deepspeed(write(tmp_path, document))
    assert found.pins == {
        "zero_stage": 2,
        "offload_param": False,
        "offload_optimizer": True,
        "model_dtype": Dtype.FP16,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 4,
    }
    assert found.effective_batch_size == 32
    assert found.config.warnings == ()


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must hold a JSON object"),
        ({}, "stage 0 shards nothing: leave out --deepspeed for DDP"),
        (changed(5), "stage must be 0, 1, 2 or 3, not 5"),
        (changed(2, offload_param={"device": "cpu"}), "offload_param needs stage 3"),
        (changed(offload_param={"device": "nvme"}), "offload_param to nvme is not sized"),
        (changed(sub_group_size="auto"), 'sub_group_size is "auto", which nobody fills in'),
        (changed(sub_group_size=-1), "sub_group_size must be a whole number of at least 0, not -1"),
        (changed(reduce_bucket_size=0), "reduce_bucket_size must be a whole number of at least 1"),
        (changed(reduce_bucket_size=1.5), "reduce_bucket_size must be a whole number"),
        (changed(reduce_bucket_size=float("nan")), "reduce_bucket_size must be a whole number"),
        (changed(reduce_bucket_size=True), "reduce_bucket_size must be a whole number"),
        (changed(top={"bf16": {"enabled": True}, "fp16": {"enabled": True}}), "take one"),
        (changed(top={"bf16": {}, "fp16": {}}), "neither bf16 nor fp16 is enabled"),
        (changed(top={"bf16": 3}), "bf16 must be an object"),
        (changed(overlap_comm="yes"), "overlap_comm must be true or false"),
    ],
)
def test_what_no_run_can_have_is_refused_in_a_sentence(
    tmp_path: Path, document: object, says: str
) -> None:
    """With the file, the key and the value."""
    path = write(tmp_path, document)
    with pytest.raises(UsageError) as caught:
        read_deepspeed(path)
    assert str(caught.value).startswith(f"--deepspeed {path}")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As any other file."""
    with pytest.raises(UsageError, match=r"nope\.json cannot be read: No such file"):
        read_deepspeed(tmp_path / "nope.json")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (
            changed(sub_groop_size=1),
            "zero_optimization.sub_groop_size is no key that is known here: not sized. Did you "
            'mean "sub_group_size"?',
        ),
        (changed(zero_hpz_partition_size=8), "zero_optimization.zero_hpz_partition_size is not"),
        (changed(top={"activation_checkpointing": {}}), "activation_checkpointing is not sized"),
        (changed(top={"optimizer": {"type": "AdamW"}}), "optimizer: the plan's own is sized"),
        (changed(contiguous_gradients=False), "contiguous_gradients off is not sized"),
        (changed(2), "round_robin_gradients is off: sized as if it were on"),
        (
            changed(offload_optimizer={"device": "cpu", "pin_memory": True}),
            "offload_optimizer without zero_force_ds_cpu_optimizer: false takes DeepSpeed's own",
        ),
        (changed(offload_param={"device": "cpu"}), "memory that is not pinned is sized as pinned"),
        (
            changed(
                top={
                    "train_batch_size": 10,
                    "train_micro_batch_size_per_gpu": 2,
                    "gradient_accumulation_steps": 4,
                }
            ),
            "train_batch_size 10 is no multiple of 2 x 4",
        ),
    ],
)
def test_what_is_not_sized_or_contradicts_itself_is_said(
    tmp_path: Path, document: object, says: str
) -> None:
    """One line each."""
    warnings = read_deepspeed(write(tmp_path, document)).config.warnings
    assert any(says in warning for warning in warnings), warnings


def test_a_flag_against_the_file_is_refused_and_the_same_value_is_not(tmp_path: Path) -> None:
    """What is open stays open."""
    file = read_deepspeed(write(tmp_path, TUTORIAL))
    assert merged({"zero_stage": 3, "world_size": 4}, file) == file.pins | {"world_size": 4}
    says = r"^--zero-stage 2 and ds_config\.json \(zero_stage 3\) contradict each other: leave one"
    with pytest.raises(UsageError, match=says):
        merged({"zero_stage": 2}, file)
