"""Jobs: `python -m ml_platform.jobs.<name>`, the unit that a compute backend runs.

Belongs here: parse arguments, call the library, print a JSON report, end with an exit code. Does not belong here: the work itself.
"""
