"""Parts of verbs that are as long as a verb: what a flag of theirs turns them into."""
