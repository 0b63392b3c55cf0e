"""Plan to text for other launchers."""
