"""Rows laid end to end: the same optimizer step as with padded rows, without the padding."""
