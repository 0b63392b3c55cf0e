"""Tensors without values that allocate as CUDA does."""
