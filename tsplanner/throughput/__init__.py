"""Seconds of a training step: pure, like memory_models."""
