"""Kernels of a decoder layer that Triton compiles (``kernels: compiled``)."""
