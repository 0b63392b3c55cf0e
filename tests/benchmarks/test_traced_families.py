"""Every causal model type of the installed transformers, traced."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("peft") is None:
    pytest.skip("needs the training libraries", allow_module_level=True)

from benchmarks.accuracy.traced_families import Attempt, attempts, causal_kinds
from benchmarks.collect.family_configs import MIDDLE_OF_KIND, middle_config, tiny_config
from tsplanner.tracing.records import TraceOutcome


def test_an_attempt_shows_its_bytes_or_its_reason() -> None:
    """A failure is told by recipe."""
    failed = Attempt(kind="rwkv", recipe="kept", outcome=TraceOutcome(error="no"))
    assert failed.words == "kept - no"


def test_configs_of_tiny_and_of_middle_size_are_of_their_type() -> None:
    """Four layers of width 64; layers of real width keep the class's vocabulary."""
    tiny, middle = tiny_config("granite"), middle_config("granite")
    assert (tiny["model_type"], tiny["hidden_size"], tiny["num_hidden_layers"]) == (
        "granite",
        64,
        4,
    )
    assert (middle["hidden_size"], middle["vocab_size"], tiny["vocab_size"]) == (2048, 32000, 320)


@pytest.mark.slow
def test_every_family_that_people_fine_tune_is_traced() -> None:
    """Those of the measured runs, and the hybrids beside them."""
    kinds = [
        *MIDDLE_OF_KIND,
        "bamba",
        "granitemoehybrid",
        "jamba",
        "nemotron_h",
        "zamba2",
        "lfm2_moe",
    ]
    failed = {item.kind: item.words for item in attempts(kinds, ["kept"]) if not item.outcome.trace}
    assert failed == {}
    assert set(kinds) <= set(causal_kinds())
