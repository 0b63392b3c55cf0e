"""Several LoRA trials in one process on one frozen base."""
