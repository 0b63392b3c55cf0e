"""One run in one process group, by Hugging Face's Trainer."""
