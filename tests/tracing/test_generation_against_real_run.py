"""The bound on the bytes of an answer against real generations on a CPU, family by family."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from memory_models.generation import cache_bytes, generation_bytes  # noqa: E402
from memory_models.settings import Attention, Dtype, TrainingSettings, from_flat  # noqa: E402
from tests.support import shrunk, tiny  # noqa: E402
from tsplanner.models.decoders import READERS  # noqa: E402
from tsplanner.models.source import read_architecture  # noqa: E402
from tsplanner.training import answers  # noqa: E402
from tsplanner.training.batches import EncodedSample  # noqa: E402

ROW = from_flat(
    TrainingSettings,
    model_dtype=Dtype.FP32,
    autocast=None,
    attention=Attention.EAGER,
    sequence_length=96,
)


def model_of(config: dict[str, Any]) -> Any:
    """A model in fp32, drawn anew."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    made = AutoConfig.for_model(**config)
    return AutoModelForCausalLM.from_config(made, attn_implementation="eager").float().eval()


def held_cache(model: Any, positions: int) -> int:
    """Bytes of the keys and values that a model holds of one row."""
    with torch.no_grad():
        found = model(torch.full((1, positions), 5), use_cache=True)
    return sum(each.keys.nbytes + each.values.nbytes for each in found.past_key_values.layers)


def highest(changes: list[int]) -> int:
    """The highest running sum."""
    now = peak = 0
    for change in changes:
        now += change
        peak = max(peak, now)
    return peak


def real_peak(model: Any, *, prompt: int, new: int) -> int:
    """What PyTorch's profiler sees of a generation, above what was there before."""
    from torch.profiler import ProfilerActivity, profile

    tokenizer = SimpleNamespace(pad_token_id=0)
    answerer = answers.Answerer(model, tokenizer, contextlib.nullcontext)
    asked = EncodedSample(input_ids=[5] * prompt, labels=[-100] * prompt)
    watch = answers.Watch(float("inf"), lambda: False, lambda: None)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        answerer.generated(asked, most=new, ends=[0], watch=watch)
    events = profiler.profiler.kineto_results.events()
    memory = [event for event in events if event.name() == "[memory]"]
    memory.sort(key=lambda event: event.start_ns())
    return highest([event.nbytes() for event in memory])


def test_the_cache_is_as_large_as_the_formula_says() -> None:
    """3 layers x 2 x 2 heads of 8 x 64 positions x 4 bytes are 24,576."""
    shape = read_architecture(tiny.CONFIG, name="tiny", source="test")
    assert held_cache(model_of(tiny.CONFIG), 64) == cache_bytes(shape, ROW, 64) == 24_576


def test_a_real_generation_stays_below_the_bound() -> None:
    """80 prompt tokens and 16 new ones."""
    shape = read_architecture(tiny.CONFIG, name="tiny", source="test")
    peak = real_peak(model_of(tiny.CONFIG), prompt=80, new=16)
    assert cache_bytes(shape, ROW, 96) < peak <= generation_bytes(shape, ROW, 96)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(set(READERS) - {"chatts", "qwen3ts"}))
def test_every_family_stays_below_the_bound(model_type: str) -> None:
    """The cache to the byte, windows, mixtures and soft caps included."""
    config = shrunk.config_of(model_type)
    shape, model = read_architecture(config, name="small", source="test"), model_of(config)
    assert held_cache(model, 64) == cache_bytes(shape, ROW, 64)
    assert real_peak(model, prompt=80, new=16) <= generation_bytes(shape, ROW, 96)
