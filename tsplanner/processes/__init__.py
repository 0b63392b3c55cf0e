"""Child processes that always end. A leaf: it knows nothing of jobs or plans."""

from tsplanner.processes.run import ProcessResult, run_process
from tsplanner.processes.warm import WarmServer

__all__ = ["ProcessResult", "WarmServer", "run_process"]
