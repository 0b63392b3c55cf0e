"""The process that trains: its entry, its jobs, and what it leaves when it ends."""
