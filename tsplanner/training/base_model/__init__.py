"""The base model of a plan: its configuration, tokenizer and weights, read or drawn."""
