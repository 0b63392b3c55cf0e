"""Files of a dataset, and their rows as bytes of JSON objects."""
