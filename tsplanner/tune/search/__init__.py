"""What to try next: the space, the surrogate, early stopping. Pure."""
