"""Readers of families beyond the first ones of decoders.py, by the form of their layers."""
