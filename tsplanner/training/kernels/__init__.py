"""Fused kernels of a training step."""
