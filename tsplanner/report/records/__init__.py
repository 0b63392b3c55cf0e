"""What the report knows about runs, and what of it may be compared."""
