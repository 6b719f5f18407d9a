"""What is done with a finished run: evaluation, streaming, generation."""
