"""Manifests: what a sender says a delivery consists of, read as what a stranger wrote.

Belongs here: the shape of `_manifest.json` and its bounds. Does not belong here: comparing it with what has landed (readiness).
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from ml_platform.columns import Strict
from ml_platform.landing.drops import HIDDEN

NAME = "_manifest.json"
MOST_BYTES = 16 << 20


class ManifestError(ValueError):
    """A manifest that cannot be used; says why."""


def _plain_name(text: str) -> str:
    if not text or "/" in text or "\0" in text or text.startswith(HIDDEN):
        raise ValueError("no name of a file in the manifest's own folder, and none that begins with . or _ is one")
    return text


class Promise(Strict):
    """Length (bytes) and SHA-256 of a file."""

    model_config = ConfigDict(strict=True)

    length: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")


class Manifest(Strict):
    """The files of a delivery by their names in its folder."""

    files: Mapping[Annotated[str, AfterValidator(_plain_name)], Promise]


def read_manifest(data: bytes) -> Manifest:
    """A manifest from its bytes; ManifestError where it is no JSON, has another shape, or names a file twice or elsewhere."""
    try:
        return Manifest.model_validate(json.loads(data, object_pairs_hook=_once))
    except ValidationError as why:
        first = why.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:100] for part in first["loc"])
        raise ManifestError(f"{place or 'it'}: {first['msg']}") from None
    except ManifestError:
        raise
    except (ValueError, RecursionError) as why:
        raise ManifestError(f"it is no JSON: {why}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ManifestError("a key occurs twice")
    return found
