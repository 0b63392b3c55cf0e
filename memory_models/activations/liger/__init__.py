"""Liger's kernels, which other trainers run: which model gets which, and their programs."""
