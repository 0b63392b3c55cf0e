"""A frozen base in 8 bits: stored and multiplied as fp8 (e4m3) or int8, with a scale per row."""
