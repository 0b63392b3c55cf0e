"""GPUs: the catalogue of cards, their names, and the machines that clouds rent."""
