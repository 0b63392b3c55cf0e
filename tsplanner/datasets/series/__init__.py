"""Series of one's own: from a table to rows with answers, and from answers back to the series."""
