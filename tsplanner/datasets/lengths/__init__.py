"""Lengths of a dataset's rows, in tokens and decoder positions."""
