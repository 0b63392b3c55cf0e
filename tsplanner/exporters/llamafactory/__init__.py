"""A plan as a LLaMA-Factory configuration."""
