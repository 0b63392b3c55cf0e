"""How a measured case maps to each rival's own call; run inside the rivals' environment."""
