"""Enumerate, refuse, rank: Architecture and Machine to Plan. Pure."""
