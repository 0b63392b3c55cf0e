"""What the report says, one file per language, and how a text becomes words."""
