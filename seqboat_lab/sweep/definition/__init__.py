"""What a sweep file says, checked before the first trial."""
