"""Which trials of a search stop early."""
