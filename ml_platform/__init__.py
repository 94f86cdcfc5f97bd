"""The library: everything the platform knows, usable without an orchestrator.

Belongs here: contracts, lake, forecasting, judging, releasing, scoring. Does not belong here: anything that imports dagster.
"""

__version__ = "0.1.0"
