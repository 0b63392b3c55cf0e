"""How long the rows of a dataset are, counted in tokens."""
