"""What to rent: machines of a price file, ranked by what the full run costs on each."""
