"""The worker's entry point: ``python -m tsplanner.training.worker JOB.json …``."""

import sys

from tsplanner.training.worker.entry import main

sys.exit(main(sys.argv[1:]))
