"""Habits of other trainers, as settings that a case has where nothing else was said.

``tsplanner estimate --recipe unsloth`` forecasts a run of Unsloth with the same flags. A habit is
what a trainer does unless it is told otherwise; what no setting of ours stands for is said as an
assumption. Each habit was read in the source of the trainer, which is named beside it. The bound is
as wide as published runs lay from these forecasts (``benchmarks/accuracy/published.py --spread``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from memory_models.frozen import frozen
from memory_models.result import Interval, MemoryEstimate
from memory_models.settings import DecoderKernels, Dtype, FinetuningType
from tsplanner.errors import UsageError, did_you_mean, quoted

PADDED = (
    "rows are as long as sequence_length: shorter ones take less, and rows of many lengths leave "
    "blocks of each length in PyTorch's allocator unless its segments grow"
)
"""True of every trainer that pads a batch to its longest row."""
STATES = frozenset({"base weights", "adapters", "optimizer states", "gradients"})
"""Components of an estimate that every trainer has alike: they follow from shapes and settings."""
SPREAD = 3.63
"""Measured over estimated bytes of PyTorch's allocator beyond the model states that 95 % of 96
published runs of five trainers stayed under, of 2023 to 2026: the seen half of
benchmarks/data/published (2026-11-29)."""


@frozen
class Recipe:
    """What one trainer does by itself."""

    name: str
    summary: str
    """A few words for a list."""
    settings: Mapping[str, object]
    """Values by the keys of a case; what a person gives goes before them."""
    source: str
    """Where the habit was read: package or repository with version or date, and the place in it."""
    notes: tuple[str, ...] = ()
    """What the estimate does not model of this trainer, as sentences without a full stop."""
    spread: float = SPREAD
    """The same of its own published runs, where there are ten or more."""
    uses_accelerate: bool = False
    """Whether accelerate runs it, whose FSDP2 wraps the model whole: adapters are in slices, too,
    and tables are gathered (accelerate 1.13 utils/fsdp_utils.py, ``fsdp2_prepare_model``)."""
    whole_dtype: Dtype | None = None
    """Precision in which it keeps a model that it trains whole, where that is not the file's."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Sentences for the estimate, which say whose habits were taken."""
        taken = ", ".join(f"{key} {_word(value)}" for key, value in self.settings.items())
        return (
            f"habits of {self.name} where nothing was given: {taken}",
            f"95 % of published runs took at most {self.spread:g} times the forecast beyond "
            "weights, gradients and optimizer states",
            *self.notes,
        )


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else f"{value}"


def _recipe(
    name: str,
    summary: str,
    source: str,
    *notes: str,
    spread: float = SPREAD,
    uses_accelerate: bool = False,
    whole_dtype: Dtype | None = None,
    **settings: object,
) -> tuple[str, Recipe]:
    found = Recipe(
        name=name,
        summary=summary,
        settings=MappingProxyType(settings),
        source=source,
        notes=notes,
        spread=spread,
        uses_accelerate=uses_accelerate,
        whole_dtype=whole_dtype,
    )
    return name, found


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    dict(
        [
            _recipe(
                "transformers",
                "Trainer with PEFT's preparation of a quantised base",
                "transformers 5.17 training_args.py; peft 0.21 utils/other.py, "
                "prepare_model_for_kbit_training",
                PADDED,
                uses_accelerate=True,
                loss_kernel="plain",
                decoder_kernels="reference",
                upcast_unquantized=True,
                gradient_checkpointing=False,
            ),
            _recipe(
                "trl",
                "SFTTrainer of TRL 1.x: loss in chunks, weights in fp32 unless dtype is given",
                "trl 1.16 trainer/sft_config.py (chunked_nll), sft_trainer.py, utils.py "
                "(create_model_from_path: dtype); PR 4457 (no upcast)",
                PADDED,
                uses_accelerate=True,
                model_dtype="fp32",
                loss_kernel="fused",
                decoder_kernels="reference",
                upcast_unquantized=False,
                gradient_checkpointing=True,
            ),
            _recipe(
                "trl-0",
                "SFTTrainer of TRL before 1.0: all logits, PEFT's preparation",
                "trl 0.7 to 0.24 trainer/sft_trainer.py, prepare_model_for_kbit_training",
                PADDED,
                uses_accelerate=True,
                loss_kernel="plain",
                decoder_kernels="reference",
                upcast_unquantized=True,
            ),
            _recipe(
                "unsloth",
                "fused kernels and loss, no upcast, 8-bit AdamW, checkpoints, growing segments",
                "unslothai/unsloth kernels/, device_type.py, PR 1186 (no upcast); its notebooks",
                PADDED,
                "checkpoints of layers stay on the GPU, where Unsloth moves them to RAM",
                spread=4.56,
                loss_kernel="fused",
                decoder_kernels="fused",
                upcast_unquantized=False,
                optimizer="adamw_bnb_8bit",
                expandable_segments=True,
                gradient_checkpointing=True,
            ),
            _recipe(
                "axolotl",
                "plain loss, no upcast, growing segments; its fused kernels are options",
                "axolotl loaders/model.py, utils/__init__.py (segments), utils/schemas (kernels)",
                PADDED,
                uses_accelerate=True,
                loss_kernel="plain",
                decoder_kernels="reference",
                upcast_unquantized=False,
                expandable_segments=True,
                gradient_checkpointing=False,
            ),
            _recipe(
                "llama-factory",
                "plain loss, no upcast, checkpoints; a whole model in fp32",
                "hiyouga/LLaMA-Factory hparams/model_args.py, model/model_utils/checkpointing.py, "
                "model/adapter.py (trained weights in fp32 unless pure_bf16)",
                PADDED,
                "layers that freeze trains are in fp32 there",
                uses_accelerate=True,
                whole_dtype=Dtype.FP32,
                loss_kernel="plain",
                decoder_kernels="reference",
                upcast_unquantized=False,
                gradient_checkpointing=True,
            ),
            _recipe(
                "ms-swift",
                "plain loss, no upcast, checkpoints",
                "modelscope/ms-swift swift/arguments, swift/tuners (no preparation of the base)",
                PADDED,
                spread=3.68,
                uses_accelerate=True,
                loss_kernel="plain",
                decoder_kernels="reference",
                upcast_unquantized=False,
                gradient_checkpointing=True,
            ),
            _recipe(
                "litgpt",
                "bf16 throughout, head in chunks, no upcast, no checkpoints for LoRA",
                "Lightning-AI/litgpt finetune/lora.py (lm_head_chunk_size=128, bf16-true)",
                spread=1.41,
                loss_kernel="fused",
                decoder_kernels="reference",
                upcast_unquantized=False,
                gradient_checkpointing=False,
                autocast=None,
            ),
            _recipe(
                "fsdp-qlora",
                "bf16 throughout, plain loss, no upcast, checkpoints",
                "AnswerDotAI/fsdp_qlora train.py (bf16_buffers_autocast aside)",
                PADDED,
                loss_kernel="plain",
                decoder_kernels="reference",
                upcast_unquantized=False,
                gradient_checkpointing=True,
                autocast=None,
            ),
            _recipe(
                "torchtune",
                "bf16 throughout, loss in chunks, no upcast, checkpoints",
                "pytorch/torchtune recipes/configs (bf16, fused AdamW), modules/loss",
                loss_kernel="fused",
                decoder_kernels="reference",
                upcast_unquantized=False,
                gradient_checkpointing=True,
                autocast=None,
            ),
            _recipe(
                "automodel",
                "fused kernels and loss, bf16 throughout",
                "NVIDIA-NeMo/Automodel components/loss, components/models; examples/llm_finetune",
                "its Transformer Engine kernels are taken for fused kernels of ours",
                loss_kernel="fused",
                decoder_kernels="fused",
                upcast_unquantized=False,
                gradient_checkpointing=False,
                autocast=None,
            ),
        ]
    )
)
"""By the name that ``--recipe`` takes."""


def recipe_named(name: object) -> Recipe:
    """The recipe of a trainer.

    Raises:
        UsageError: there is none of this name.
    """
    found = RECIPES.get(name) if isinstance(name, str) else None
    if found is None:
        hint = did_you_mean(str(name)[:80], RECIPES)
        raise UsageError(
            f"recipe must be the name of a trainer, not {quoted(name)}: {', '.join(RECIPES)}.{hint}"
        )
    return found


def with_habits(given: Mapping[str, object]) -> dict[str, object]:
    """The case with the habits of the trainer that it names under what it gives.

    Raises:
        UsageError: there is no such trainer.
    """
    values = {key: value for key, value in given.items() if key != "recipe"}
    recipe = recipe_of(given)
    return values if recipe is None else {**recipe.settings, **values}


def recipe_of(given: Mapping[str, object]) -> Recipe | None:
    """The recipe that a case names, with its habits in such a case; None: of nobody's habits.

    Raises:
        UsageError: there is none of this name.
    """
    if given.get("recipe") is None:
        return None
    recipe = recipe_named(given["recipe"])
    habits = dict(recipe.settings)
    if given.get("kernels", given.get("decoder_kernels")) == DecoderKernels.LIGER:
        # Liger's patch brings a loss of its own, whatever the trainer's is.
        del habits["loss_kernel"]
    if recipe.uses_accelerate and given.get("fsdp") is True:
        habits["fsdp_whole_model"] = True
    if recipe.whole_dtype is not None and given.get("finetuning_type") == FinetuningType.FULL:
        habits["model_dtype"] = recipe.whole_dtype
    return replace(recipe, settings=MappingProxyType(habits))


def under(estimate: MemoryEstimate, recipe: Recipe | None) -> MemoryEstimate:
    """The estimate with the assumptions of a recipe, and bounds as wide as its runs lay."""
    if recipe is None:
        return estimate

    states, reserved = states_bytes(estimate), estimate.peak_reserved_bytes

    def widened(found: Interval) -> Interval:
        upper = states + round(recipe.spread * (found.expected - states))
        return replace(found, upper=max(found.upper, upper))

    # What lies outside PyTorch's allocator is the driver's and not the trainer's.
    outside = estimate.process_bytes.expected - reserved.expected
    process = max(estimate.process_bytes.upper, widened(reserved).upper + outside)
    return replace(
        estimate,
        peak_allocated_bytes=widened(estimate.peak_allocated_bytes),
        peak_reserved_bytes=widened(reserved),
        process_bytes=replace(estimate.process_bytes, upper=process),
        assumptions=(*estimate.assumptions, *recipe.assumptions),
    )


def states_bytes(estimate: MemoryEstimate) -> int:
    """Bytes of the model states of one process, which do not depend on the trainer."""
    return sum(part.bytes for part in estimate.components if part.name in STATES)
