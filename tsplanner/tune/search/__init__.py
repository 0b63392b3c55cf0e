"""What to try next: the search space, the surrogate and early stopping. Pure functions."""
