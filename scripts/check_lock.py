"""Check requirements.lock against pyproject.toml without the network.

Belongs here: what can be seen in the two files: every direct dependency is locked inside its range, every entry has hashes, no address is
written. Does not belong here: resolving anew (`make lock`).
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[.*?])?==(?P<version>[^\s;\\]+)")


def direct(pyproject: dict[str, object]) -> list[Requirement]:
    """Requirements of the project, its extras and its dependency groups."""
    project, groups = pyproject["project"], pyproject["dependency-groups"]
    assert isinstance(project, dict)
    assert isinstance(groups, dict)
    lists = [project["dependencies"], *project["optional-dependencies"].values(), *groups.values()]
    return [Requirement(text) for texts in lists for text in texts]


def problems(pyproject_text: str, lock_text: str) -> Iterator[str]:
    """One sentence per way in which the lock does not fit."""
    locked: dict[str, list[str]] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock_text):
        if entry := ENTRY.match(block):
            locked.setdefault(canonicalize_name(entry["name"]), []).append(entry["version"])
            if "--hash=sha256:" not in block:
                yield f"{entry['name']} {entry['version']} has no hash"
    for requirement in direct(tomllib.loads(pyproject_text)):
        versions = locked.get(canonicalize_name(requirement.name))
        if not versions:
            yield f"{requirement.name} is in pyproject.toml and not in requirements.lock"
        elif not all(requirement.specifier.contains(version, prereleases=True) for version in versions):
            yield f"{requirement} is asked for, {', '.join(versions)} is locked"
    if re.search(r"^(--(extra-)?index-url|--find-links)|https?://", lock_text, re.MULTILINE):
        yield "requirements.lock holds an address"


def main() -> int:
    """Print the problems; exit code 1 when there are any."""
    found = list(problems(Path("pyproject.toml").read_text(), Path("requirements.lock").read_text()))
    for problem in found:
        print(f"requirements.lock: {problem}: run `make lock`")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
