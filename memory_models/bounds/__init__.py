"""95 % intervals around the expected bytes."""
