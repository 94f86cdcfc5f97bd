"""A release folder's bytes: what lies in it, under which hash, and whether it still does.

Belongs here: the manifest, the release id, writing a folder atomically, verifying it. Does not belong here: what the files mean (registry).
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ml_platform.durable import put_in_place, sync
from ml_platform.registry.signing import Signature, SignatureError, check

MANIFEST, SIGNATURE = "manifest.json", "signature.json"
OF_MLFLOW = {"registered_model_meta"}  # written into what it loads by an alias
RELEASE_ID = re.compile(r"\d{4}-\d{2}-\d{2}-[0-9a-f]{12}")


class ReleaseError(RuntimeError):
    """A release that is missing, changed or not whole; names the file and the way out."""


class Origin(BaseModel):
    """Who sealed a release and when, with which code: git commit, version of the kernel, sha256 of the lock of packages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    created_by: str
    created_at: datetime
    code_commit: str = "unknown"
    kernel: str = "unknown"
    lock_sha256: str = "unknown"


class Manifest(BaseModel):
    """What a release consists of and where it comes from. Its id is the as-of day and a hash of everything else in it but who sealed it and when.

    So the same inputs give the same release anywhere; no byte can change unseen, because all of them are signed.

    files: sha256 by name. data_versions: of the tables it was made from. folds: dates by what the folds were for. gate: kind, verdict, rules that failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    release_id: str
    as_of: date
    model: str
    files: dict[str, str]
    origin: Origin
    data_versions: dict[str, int]
    folds: dict[str, str]
    gate: dict[str, str]

    @property
    def content(self) -> str:
        """Hash of the files alone: equal for equal fleets, whatever commit or table versions they come from."""
        return _digest(json.dumps([self.model, self.as_of.isoformat(), self.files], sort_keys=True).encode())

    @property
    def lineage(self) -> dict[str, object]:
        """Where it comes from, as the decision about it keeps it: for SQL, which does not read folders."""
        origin = self.origin
        return {
            "kind": self.gate.get("kind"),
            "code_commit": origin.code_commit,
            "kernel": origin.kernel,
            "lock_sha256": origin.lock_sha256,
            "sealed_by": origin.created_by,
            "sealed_at": origin.created_at.isoformat(),
            "tables": self.data_versions,
        }

    def to_bytes(self) -> bytes:
        return (json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n").encode()


def seal(
    as_of: date,
    model: str,
    files: Mapping[str, bytes],
    origin: Origin,
    data_versions: Mapping[str, int],
    folds: Mapping[str, str],
    gate: Mapping[str, str],
) -> Manifest:
    """The manifest of these bytes, with the release id `<as_of>-<12 hex digits>` that follows from it."""
    draft = Manifest(
        release_id="",
        as_of=as_of,
        model=model,
        files={name: _digest(files[name]) for name in sorted(files)},
        origin=origin,
        data_versions=dict(sorted(data_versions.items())),
        folds=dict(sorted(folds.items())),
        gate=dict(sorted(gate.items())),
    )
    return draft.model_copy(update={"release_id": _id_of(draft)})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _id_of(manifest: Manifest) -> str:
    told = manifest.model_dump(mode="json", exclude={"release_id": True, "origin": {"created_by", "created_at"}})
    return f"{manifest.as_of}-{_digest(json.dumps(told, sort_keys=True).encode())[:12]}"


def write_folder(root: Path, manifest: Manifest, files: Mapping[str, bytes], signature: Signature) -> Path:
    """Put a release under its name in one rename; a folder left half written by a crash is made anew."""
    target, building = root / manifest.release_id, root / f".building-{manifest.release_id}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    contents = {**files, MANIFEST: manifest.to_bytes(), SIGNATURE: signature.to_bytes()}
    for name, content in contents.items():
        (building / name).write_bytes(content)
    sync(building / name for name in contents)
    put_in_place(building, target)
    return target


@dataclass(frozen=True)
class Folder:
    """The verified bytes of a release: what its manifest names, the manifest, and the signature."""

    manifest: Manifest
    files: dict[str, bytes]
    signature: Signature


def read_folder(root: Path, release_id: str, keys: Path) -> Folder:
    """The bytes of every file, after checking that they are what was released, and by somebody whose key is trusted in the folder `keys`.

    Raises ReleaseError that names the first file that was changed, removed or added, or that nobody trusted has signed.
    """
    if not RELEASE_ID.fullmatch(release_id):
        raise ReleaseError(
            f"'{release_id}' is no release id: it looks like 2017-12-17-0123456789ab; see the folders in {root}"
        )
    return read_copy(root / release_id, keys, release_id)


def read_copy(folder: Path, keys: Path, release_id: str = "") -> Folder:
    """The same of a copy of a release, which may have another name and MLflow's own file in it; release_id: which one it has to be, without either."""
    signature, manifest = _read_signature(folder), _read_manifest(folder, release_id)
    present = {one.name for one in folder.iterdir()}
    for name in sorted((present - (set() if release_id else OF_MLFLOW)) ^ {*manifest.files, MANIFEST, SIGNATURE}):
        raise _refused(folder / name, "was added after the release was sealed" if name in present else "is missing")
    for name in present:
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise _refused(folder / name, "is no file of its own: it was put in the place of one")
    contents = {name: (folder / name).read_bytes() for name in manifest.files}
    for name, content in contents.items():
        if _digest(content) != manifest.files[name]:
            raise _refused(folder / name, "does not have the sha256 of the manifest: its bytes were changed")
    try:
        check(keys, manifest.to_bytes(), signature)
    except SignatureError as why:
        raise _refused(folder / MANIFEST, f"is not what {SIGNATURE} stands for: {why}") from None
    return Folder(manifest, contents, signature)


def _read_signature(folder: Path) -> Signature:
    path = folder / SIGNATURE
    if not folder.is_dir():
        raise _refused(folder / MANIFEST, "is missing")
    try:
        raw = path.read_bytes()
        signature = Signature.model_validate_json(raw)
    except FileNotFoundError:
        raise _refused(path, "is missing: nobody has signed it") from None
    except (ValidationError, UnicodeDecodeError):
        raise _refused(path, "is no signature: its bytes were changed") from None
    if signature.to_bytes() != raw:
        raise _refused(path, "is not as it was written: its bytes were changed")
    return signature


def _read_manifest(folder: Path, release_id: str) -> Manifest:
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
        manifest = Manifest.model_validate_json(raw)
    except FileNotFoundError:
        raise _refused(path, "is missing") from None
    except (ValidationError, UnicodeDecodeError):
        raise _refused(path, "is not a manifest: its bytes were changed") from None
    wanted = release_id or manifest.release_id
    if manifest.release_id != wanted or _id_of(manifest) != wanted or manifest.to_bytes() != raw:
        raise _refused(path, f"does not belong to release {wanted}: its bytes were changed or the folder was renamed")
    return manifest


def _refused(path: Path, why: str) -> ReleaseError:
    way_out = "restore the folder from a copy, or take the release out of use: ml-platform releases withdraw"
    return ReleaseError(f"release refused: {path} {why}; {way_out}")
