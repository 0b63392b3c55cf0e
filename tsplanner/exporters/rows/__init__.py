"""The rows of an export: those that our own worker trains on, in a form that a trainer reads."""
