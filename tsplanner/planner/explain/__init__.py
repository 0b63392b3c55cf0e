"""Why the planner decided as it did: reasons as data, and their sentences in two languages."""
