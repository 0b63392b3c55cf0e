"""A plan as a configuration of accelerate, which other trainers run under as well."""
