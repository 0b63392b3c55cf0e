"""One module a verb; only these print."""
