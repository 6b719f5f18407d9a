"""What happens around training steps, one concern a file."""
