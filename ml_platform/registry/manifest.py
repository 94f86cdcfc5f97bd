"""A release folder's bytes: what lies in it, under which hash, and whether it still does.

Belongs here: the manifest, the release id, writing a folder atomically, verifying it. Does not belong here: what the files mean (registry).
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ml_platform.durable import put_in_place, sync

MANIFEST = "manifest.json"
RELEASE_ID = re.compile(r"\d{4}-\d{2}-\d{2}-[0-9a-f]{12}")


class ReleaseError(RuntimeError):
    """A release that is missing, changed or not whole; names the file and the way out."""


class Manifest(BaseModel):
    """What a release consists of. Its id is the as-of day and a hash of everything else in it, so no byte can change unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    release_id: str
    as_of: date
    model: str
    files: dict[str, str]
    code_commit: str
    data_versions: dict[str, int]

    @property
    def content(self) -> str:
        """Hash of the files alone: equal for equal fleets, whatever commit or table versions they come from."""
        return _digest(json.dumps([self.model, self.as_of.isoformat(), self.files], sort_keys=True).encode())

    def to_bytes(self) -> bytes:
        return (json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True) + "\n").encode()


def seal(
    as_of: date, model: str, files: Mapping[str, bytes], code_commit: str, data_versions: Mapping[str, int]
) -> Manifest:
    """The manifest of these bytes, with the release id `<as_of>-<12 hex digits>` that follows from it."""
    draft = Manifest(
        release_id="",
        as_of=as_of,
        model=model,
        files={name: _digest(files[name]) for name in sorted(files)},
        code_commit=code_commit,
        data_versions=dict(sorted(data_versions.items())),
    )
    return draft.model_copy(update={"release_id": _id_of(draft)})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _id_of(manifest: Manifest) -> str:
    return f"{manifest.as_of}-{_digest(manifest.model_copy(update={'release_id': ''}).to_bytes())[:12]}"


def write_folder(root: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Put a release under its name in one rename; a folder left half written by a crash is made anew."""
    target, building = root / manifest.release_id, root / f".building-{manifest.release_id}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    contents = {**files, MANIFEST: manifest.to_bytes()}
    for name, content in contents.items():
        (building / name).write_bytes(content)
    sync(building / name for name in contents)
    put_in_place(building, target)
    return target


def read_folder(root: Path, release_id: str) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and the bytes of every file, after checking that they are what was released.

    Raises ReleaseError that names the first file that was changed, removed or added.
    """
    if not RELEASE_ID.fullmatch(release_id):
        raise ReleaseError(
            f"'{release_id}' is no release id: it looks like 2017-12-17-0123456789ab; see the folders in {root}"
        )
    folder = root / release_id
    manifest = _read_manifest(folder, release_id)
    present = {str(one.relative_to(folder)) for one in folder.rglob("*") if not one.is_dir()}
    for name in sorted(present ^ {*manifest.files, MANIFEST}):
        raise _refused(folder / name, "was added after the release was sealed" if name in present else "is missing")
    contents = {name: (folder / name).read_bytes() for name in manifest.files}
    for name, content in contents.items():
        if _digest(content) != manifest.files[name]:
            raise _refused(folder / name, "does not have the sha256 of the manifest: its bytes were changed")
    return manifest, contents


def _read_manifest(folder: Path, release_id: str) -> Manifest:
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
        manifest = Manifest.model_validate_json(raw)
    except FileNotFoundError:
        raise _refused(path, "is missing") from None
    except (ValidationError, UnicodeDecodeError):
        raise _refused(path, "is not a manifest: its bytes were changed") from None
    if manifest.release_id != release_id or _id_of(manifest) != release_id or manifest.to_bytes() != raw:
        raise _refused(
            path, f"does not belong to release {release_id}: its bytes were changed or the folder was renamed"
        )
    return manifest


def _refused(path: Path, why: str) -> ReleaseError:
    way_out = "restore the folder from a copy, or delete it and materialize promoted_release for its as-of day again"
    return ReleaseError(f"release refused: {path} {why}; {way_out}")
