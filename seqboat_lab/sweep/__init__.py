"""Searches over experiments: Optuna studies whose trials are runs."""
