"""Child processes that end for sure. A leaf package that knows nothing of jobs or plans."""

from tsplanner.processes.run import ProcessResult, run_process
from tsplanner.processes.warm import SERVER_COMMAND, WarmServer

__all__ = ["SERVER_COMMAND", "ProcessResult", "WarmServer", "run_process"]
