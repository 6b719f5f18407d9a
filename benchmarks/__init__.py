"""Measurements: run from a checkout, by `make bench` and the scripts' own commands."""
