"""A frozen base in host memory: all micro-batches of a step pass through one layer at a time."""
