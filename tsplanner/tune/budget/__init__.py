"""A search that ends within a budget of time."""
