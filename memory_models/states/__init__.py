"""Bytes that stay from step to step: weights, adapters, optimizer states."""
