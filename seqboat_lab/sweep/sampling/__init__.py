"""What proposes a trial's values."""
