"""Optuna study around the worker."""
