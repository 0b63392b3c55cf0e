"""Norms as programs; the toy's stream has 8 elements per token."""

from __future__ import annotations

from memory_models.activations.norms import layer_norm, norm, rms_norm
from memory_models.architecture import Norm
from memory_models.settings import DecoderKernels, changed
from memory_models.symbolic import ZERO, Size
from tests.support.toy_decoder import LAYER_NORM, TOY
from tests.support.toy_programs import layer_ops, uncounted

GEMMA = changed(TOY, norm_scales_in_fp32=True)


def test_a_frozen_rms_norm_keeps_the_fp32_copy_of_its_input() -> None:
    """Eight elements of four bytes."""
    ops = layer_ops()
    rms_norm(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=32)


def test_a_trained_rms_norm_keeps_what_its_scale_multiplies_as_well() -> None:
    """The normalised copy in bf16: eight elements of two bytes."""
    ops = layer_ops(trained=True)
    rms_norm(ops, uncounted(ops, 8))
    assert ops.tape.kept() == Size(per_token=32 + 16)


def test_a_scale_in_fp32_gives_the_streams_dtype_back() -> None:
    """Gemma multiplies in fp32 and casts the product to bf16."""
    ops = layer_ops(GEMMA)
    assert rms_norm(ops, uncounted(ops, 8)).bytes == 2


def test_a_layer_norm_runs_in_fp32_under_autocast_alone() -> None:
    """Under autocast it keeps the fp32 cast; without autocast it keeps its input itself."""
    ops = layer_ops(LAYER_NORM)
    assert layer_norm(ops, uncounted(ops, 8)).bytes == 4
    assert ops.tape.kept() == Size(per_token=32)
    plain = layer_ops(LAYER_NORM, autocast=None)
    assert layer_norm(plain, uncounted(plain, 8)).bytes == 2
    assert plain.tape.kept() == ZERO


def test_the_kind_of_norm_is_the_models_or_a_fused_kernel() -> None:
    """A fused kernel keeps its input and makes the result, 16 bytes per token, and nothing else."""
    for architecture, kept in ((TOY, 32), (LAYER_NORM, 32)):
        ops = layer_ops(architecture)
        norm(ops, uncounted(ops, 8))
        assert ops.tape.kept() == Size(per_token=kept)
    fused = layer_ops(decoder_kernels=DecoderKernels.FUSED)
    norm(fused, uncounted(fused, 8))
    assert fused.tape.kept() == ZERO
    assert fused.tape.levels == [Size(per_token=16)]


def test_a_layer_norm_written_out_keeps_both_differences_from_the_mean() -> None:
    """Cohere: the square's input and the factor of the scale, eight fp32 elements each."""
    ops = layer_ops(changed(TOY, kind=Norm.LAYER_FP32))
    assert norm(ops, uncounted(ops, 8)).bytes == 2
    assert ops.tape.kept() == Size(per_token=2 * 32)
    trained = layer_ops(changed(TOY, kind=Norm.LAYER_FP32), trained=True)
    norm(trained, uncounted(trained, 8))
    assert trained.tape.kept() == Size(per_token=3 * 32)


def test_olmos_norm_scales_in_fp32_and_has_a_fused_kernel_all_the_same() -> None:
    """Trained, its product keeps an fp32 copy; Gemma's scale has one added, and no kernel."""
    ops = layer_ops(changed(TOY, kind=Norm.RMS_FP32), trained=True)
    assert norm(ops, uncounted(ops, 8)).bytes == 2
    assert ops.tape.kept() == Size(per_token=32 + 32)
    fused = layer_ops(changed(TOY, kind=Norm.RMS_FP32), decoder_kernels=DecoderKernels.FUSED)
    norm(fused, uncounted(fused, 8))
    assert fused.tape.kept() == ZERO


def test_a_checkpoint_runs_up_to_the_scale_that_ends_a_layer() -> None:
    """The frozen scale is saved without bytes of its own: last_save stands before its product."""
    after = layer_ops(changed(TOY, kind=Norm.RMS_FP32, norms_after=True))
    rms_norm(after, uncounted(after, 8))
    before = layer_ops(changed(TOY, kind=Norm.RMS_FP32))
    rms_norm(before, uncounted(before, 8))
    assert after.tape.kept() == before.tape.kept() == Size(per_token=32)
    # The fp32 copy, its square and the scaled copy are three allocations; the product is a fourth.
    assert (before.tape.last_save, after.tape.last_save) == (2, 3)


def test_the_gradient_of_an_rms_norms_square_holds_five_copies_in_fp32() -> None:
    """That of the input so far, that of the square, the input to the first power, its double, and
    the product of the last two with the gradient, beside the saved input: six of 32 bytes.
    """
    ops = layer_ops(GEMMA)
    output = rms_norm(ops, uncounted(ops, 8))
    ops.tape.backward(output, accumulates=False, recomputed=False)
    assert max(ops.tape.levels, key=lambda size: size.per_token) == Size(per_token=6 * 32)
