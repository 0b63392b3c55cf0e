"""The memory of a training step by running the real model on fake tensors: no weights, no GPU."""
