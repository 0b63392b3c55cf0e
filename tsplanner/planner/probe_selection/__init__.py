"""Which candidates to probe next, and what probes say about the others. Pure."""
