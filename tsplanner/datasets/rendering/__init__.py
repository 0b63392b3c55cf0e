"""Rows as the text that a model's chat template makes of them, and which of it carries loss."""
