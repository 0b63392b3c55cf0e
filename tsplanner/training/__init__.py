"""The training worker, with one path for probe, trial and full run and a loop for multi-LoRA.

Only this package and ``tracing`` import torch.
"""
