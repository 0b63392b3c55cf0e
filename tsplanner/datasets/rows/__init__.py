"""Training rows: reading, recognising and checking them."""
