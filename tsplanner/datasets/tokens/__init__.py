"""Rows as token ids, with the tokens that carry loss."""
