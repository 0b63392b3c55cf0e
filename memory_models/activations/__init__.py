"""A training step's activations, as programs on a tape of allocations."""
