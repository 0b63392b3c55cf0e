"""A dataset tokenised once, in files that training maps into memory."""
