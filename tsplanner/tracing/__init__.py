"""Memory of a training step from a run of the real model on fake tensors: no weights, no GPU."""
