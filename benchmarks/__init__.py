"""Measurements: run from a checkout, by `make bench` and the scripts' own commands."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # torch's profiler tells of itself; it reads this when torch is loaded
