"""PyTorch's caching allocator, simulated, and a step replayed through it."""
