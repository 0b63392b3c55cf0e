"""Decoder layers whose tapes were recorded from the real model, for families without a formula."""
