"""config.json to Architecture, one reader a family."""
