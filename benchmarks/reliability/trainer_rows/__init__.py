"""The same rows read by our worker and by other trainers."""
