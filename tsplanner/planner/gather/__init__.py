"""From what a person typed to the records that planning needs."""
