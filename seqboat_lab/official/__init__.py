"""Everything about the authors' code: its layers, its checkpoints, runs made from them."""
