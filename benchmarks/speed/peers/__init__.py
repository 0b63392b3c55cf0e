"""The same rows through this worker and through other trainers' steps."""
