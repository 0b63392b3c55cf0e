"""From a config.json to an Architecture, with one reader per family."""
