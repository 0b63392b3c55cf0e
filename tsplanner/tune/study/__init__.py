"""Optuna's study, shared by several worker processes."""
