"""Figures and tables from finished sweeps; everything is read from the files they left."""
