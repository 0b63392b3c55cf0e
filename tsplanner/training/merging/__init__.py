"""An adapter merged into its base: written whole, and checked by the logits of what was written."""
