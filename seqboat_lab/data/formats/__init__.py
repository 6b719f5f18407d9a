"""From bytes to arrays, one format a file, bounded before anything is allocated."""
