"""From a plan to the files of other launchers and trainers."""
