"""What a person sees of plans, searches and datasets."""
