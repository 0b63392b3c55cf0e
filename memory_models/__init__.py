"""Memory of a training run, in bytes: a pure core, standard library only."""
