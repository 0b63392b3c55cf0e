"""Plan, probe, tune and launch fine-tuning on the machine you have."""

__version__ = "0.2.0"
