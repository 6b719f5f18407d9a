"""The Optuna study behind a sweep, and where it is kept."""
