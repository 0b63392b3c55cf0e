"""Several LoRA trials on one base: whether they can share it, and whether that pays."""
