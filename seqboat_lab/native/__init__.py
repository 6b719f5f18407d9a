"""Parts of the layer in C, for CPUs: compiled where there is a C compiler; without, torch does the same."""
