"""`python -m bench`: every benchmark in turn.

Belongs here: the list of benchmarks. Does not belong here: measuring.
"""

import runpy
from pathlib import Path

for script in sorted(Path(__file__).parent.glob("[a-z]*.py")):
    print(f"== {script.stem}", flush=True)
    runpy.run_path(str(script), run_name="__main__")
