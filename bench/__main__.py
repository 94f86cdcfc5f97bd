"""`python -m bench`: every benchmark in turn, the short ones first, then the page that is made of their results.

Belongs here: the list of benchmarks and how long each takes. Does not belong here: measuring. One that fails does not stop the others.
"""

import argparse
import subprocess
import sys
import time

from bench.results import ROOT

SCRIPTS: dict[str, tuple[str, ...]] = {
    "checks": (),
    "corrections": (),
    "ingestion": (),
    "landing": (),
    "kernel": (),
    "ets": (),
    "peers": (),
    "fleet": ("--profile", "L"),
    "increment_day": (),
    "releases": (),
    "growth": (),
    "increments": (),
    "report": (),
}


def main() -> int:
    """Run all, or those named on the command line; the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"some of {', '.join(SCRIPTS)}; all where none is named"
    )
    names, failed = parser.parse_args().names or list(SCRIPTS), list[str]()
    if unknown := [name for name in names if name not in SCRIPTS]:
        parser.error(f"no benchmark is called {', '.join(unknown)}: there are {', '.join(SCRIPTS)}")
    for name in names:
        start = time.perf_counter()
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}", *SCRIPTS[name]], cwd=ROOT, check=False).returncode:
            failed.append(name)
        print(f"== {name} took {time.perf_counter() - start:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
