"""What a config.json leaves out."""

from __future__ import annotations

from tsplanner.models.defaults import with_defaults


def test_a_null_key_means_the_default_except_where_null_is_a_value() -> None:
    """``sliding_window: null`` says that there is no window."""
    defaults = {"head_dim": 128, "sliding_window": 4096, "vocab_size": 32_000}
    given = {"head_dim": None, "sliding_window": None, "vocab_size": 64}
    assert with_defaults(defaults, given) == {
        "head_dim": 128,
        "sliding_window": None,
        "vocab_size": 64,
    }
