"""What the exports for other projects' trainers share."""
