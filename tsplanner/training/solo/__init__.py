"""A run of one plan by Hugging Face's Trainer, in one or several processes."""
