"""The text of a row as a model reads it, and which of it carries loss."""
