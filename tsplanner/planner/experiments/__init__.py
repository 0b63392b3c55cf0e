"""Recorded runs and what is planned for them."""
