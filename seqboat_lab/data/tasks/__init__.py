"""One task a file: where its samples are and what they look like."""
