"""Training rows: reading, checking, counting lengths."""
