"""Recordings of decoder layers: the real model's events on tensors without values, made affine."""
