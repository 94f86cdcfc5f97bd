"""What the platform does with a landing area, whichever it is.

Belongs here: the drops of a source, one drop, what no contract declares, landing files by hand. Does not belong here: which of them are due
(readiness, backlog).
"""

from collections.abc import Sequence
from pathlib import Path

from ml_platform.contracts import SourceContract
from ml_platform.landing.drops import HIDDEN, Drop, LandingError, drop_of, is_drop_path, read_name
from ml_platform.landing.protocol import LandingStore

EXAMPLE_DAY = "2026-01-31"


def list_drops(landing: LandingStore, contract: SourceContract) -> list[Drop]:
    """Every file of a source, oldest drop day first; names that begin with . or _ are no drops, links are not followed."""
    found = (drop_of(file, contract) for page in landing.pages(contract.name) for file in page.files)
    return sorted(found, key=lambda drop: (drop.day, drop.arrived_at, drop.path))


def find_drop(landing: LandingStore, path: str, contract: SourceContract) -> Drop | None:
    """The version of a file of this source that lies there now; None where `list_drops` would not have it either."""
    if not path.startswith(f"{contract.name}/") or not is_drop_path(path):
        return None
    file = landing.stat(path)
    return drop_of(file, contract) if file else None


def undeclared(landing: LandingStore, declared: set[str]) -> list[str]:
    """What lies at the top and belongs to no contract: folders with files, with a slash behind their names, and loose files."""
    strangers = [name for name in landing.top() if name.rstrip("/") not in declared and not name.startswith(HIDDEN)]
    return [
        name for name in strangers if not name.endswith("/") or any(page.files for page in landing.pages(name[:-1]))
    ]


def land_files(
    landing: LandingStore, contract: SourceContract, files: Sequence[Path], *, anyway: bool = False
) -> list[str]:
    """Copy files into the landing area, whole; where they lie then. LandingError, before the first one, where a name is not the contract's (unless `anyway`)."""
    paths = [f"{contract.name}/{_landed_name(path, contract, anyway=anyway)}" for path in files]
    for file, path in zip(files, paths, strict=True):
        landing.put(path, file)
    return [landing.locate(path) for path in paths]


def _landed_name(path: Path, contract: SourceContract, *, anyway: bool) -> str:
    """The file's name below landing/<source>/, with as many of its folders as the contract's path has."""
    name = "/".join(path.absolute().parts[-1 - contract.path.count("/") :])
    if read_name(name, contract)[0] and not path.name.startswith(HIDDEN):
        return name
    if anyway:
        return path.name
    example = contract.path.replace("{day}", EXAMPLE_DAY).replace("*", "")
    raise LandingError(
        f"'{name}' is no file of source '{contract.name}', whose path is '{contract.path}', for example {example}: "
        "rename it, or add --anyway to see it in quarantine"
    )
