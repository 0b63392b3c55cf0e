"""Start the worker, read its record, calibrate."""
