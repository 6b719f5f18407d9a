"""What a sweep runs besides its search: reference points before it, the confirmation of its front after it."""
