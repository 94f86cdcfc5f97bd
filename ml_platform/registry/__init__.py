"""Releases: fleets as immutable, signed folders, and their versions and aliases in MLflow.

Belongs here: sealing, signing, verifying and loading a release, MLflow versions, the champion as of a day. Does not belong here: whether a release may be
promoted (gate, promotion).
"""

from ml_platform.registry.manifest import Manifest, Origin, ReleaseError
from ml_platform.registry.pointer import Champion, ConflictError, champion_as_of
from ml_platform.registry.store import Registry, Release, ReleaseContents, Sealed, fleet_tables
from ml_platform.registry.versions import ModelVersions, Training

__all__ = [
    "Champion",
    "ConflictError",
    "Manifest",
    "ModelVersions",
    "Origin",
    "Registry",
    "Release",
    "ReleaseContents",
    "ReleaseError",
    "Sealed",
    "Training",
    "champion_as_of",
    "fleet_tables",
]
