"""The Python API: what the command line does, as calls that return records and print nothing.

Keywords are the flags of the verb with underscores, and every error is the sentence that the
command line would end with, as `tsplanner.errors.TsplannerError`.
"""

from tsplanner.api.estimates import Estimate, estimate
from tsplanner.api.plans import Export, Plan, Probe, load, plan

__all__ = ["Estimate", "Export", "Plan", "Probe", "estimate", "load", "plan"]
