"""Work handed to a scheduler: batch scripts of Slurm, and what became of them."""
