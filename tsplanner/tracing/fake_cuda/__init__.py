"""Tensors without values whose operators allocate memory as on CUDA."""
