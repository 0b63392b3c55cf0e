"""Optuna's study, which several worker processes may share."""
