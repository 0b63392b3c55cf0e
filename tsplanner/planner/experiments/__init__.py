"""Recorded runs, and the plans that are made for them."""
