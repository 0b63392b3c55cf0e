"""Seeds, mutations, readers and judges of ``benchmarks/reliability/fuzz.py``."""
