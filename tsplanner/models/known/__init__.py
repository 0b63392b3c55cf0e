"""What is known of models by name: kinds, refusals, what was measured."""
