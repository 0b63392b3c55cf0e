"""Who writes into a run folder, which one is the newest, and what killed processes left there."""
