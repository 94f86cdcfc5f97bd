"""Signatures: who sealed a release, so that nobody else can.

Belongs here: the protocol of a signer, keys in files, which keys are trusted. Does not belong here: what is signed (manifest), keys in a vault (key_vault).
"""

import base64
import binascii
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict

from ml_platform.durable import sync

Algorithm = Literal["ed25519", "es256"]
PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
PRIVATE, TRUSTED = "signing.pem", "trusted"
KEY_ID = re.compile(r"[0-9a-f]{16}")


class SignatureError(RuntimeError):
    """Bytes that nobody trusted has signed; says why, and the way out."""


class Signature(BaseModel):
    """The value in base64, and by which key; `es256` is ECDSA on P-256 with SHA-256, in DER."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: Algorithm
    key_id: str
    value: str

    def to_bytes(self) -> bytes:
        return (self.model_dump_json(indent=2) + "\n").encode()


class Signer(Protocol):
    """Whoever may seal releases."""

    def sign(self, content: bytes) -> Signature: ...


def key_id(key: PublicKey) -> str:
    """First 16 hex digits of the SHA-256 of a public key in DER."""
    raw = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(raw).hexdigest()[:16]


@dataclass(frozen=True)
class KeyFile:
    """An Ed25519 key in a folder: `signing.pem`, which only its owner may read, and `trusted/<key id>.pem` for each public key that is believed."""

    folder: Path

    def sign(self, content: bytes) -> Signature:
        """Sign with the key of the folder, which is made where there is none."""
        key = self._private()
        trust(self.folder, key.public_key())
        value = base64.b64encode(key.sign(content)).decode()
        return Signature(algorithm="ed25519", key_id=key_id(key.public_key()), value=value)

    def _private(self) -> Ed25519PrivateKey:
        path = self.folder / PRIVATE
        if not path.exists():
            _write_once(path, _private_bytes(Ed25519PrivateKey.generate()), 0o600)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError):  # the text of the error may hold bytes of the key
            raise SignatureError(
                f"{path} is no private key in PEM without a password: restore it from a copy"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SignatureError(f"{path} is not an Ed25519 key: put one there, or remove it and another is made")
        return key


def _private_bytes(key: Ed25519PrivateKey) -> bytes:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


def trust(folder: Path, key: PublicKey) -> Path:
    """Believe what this key signs from now on."""
    path = folder / TRUSTED / f"{key_id(key)}.pem"
    if not path.exists():
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        _write_once(path, key.public_bytes(serialization.Encoding.PEM, form), 0o644)
    return path


def _write_once(path: Path, content: bytes, mode: int) -> None:
    """A file under its name only once it is whole; the first of several writers wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    building = Path(name)
    with os.fdopen(handle, "wb") as out:
        os.fchmod(handle, mode)
        out.write(content)
    sync([building])
    try:
        os.link(building, path)
    except FileExistsError:
        pass
    finally:
        building.unlink()


def check(folder: Path, content: bytes, signature: Signature) -> None:
    """SignatureError where these bytes are not what a trusted key of the folder has signed."""
    if not KEY_ID.fullmatch(signature.key_id):  # it names a file
        raise SignatureError(f"'{signature.key_id}' is no id of a key")
    path = folder / TRUSTED / f"{signature.key_id}.pem"
    if not path.exists():
        raise SignatureError(
            f"key {signature.key_id} is not trusted here: if it is that of a colleague, put its public key at {path}"
        )
    try:
        key, value = (
            serialization.load_pem_public_key(path.read_bytes()),
            base64.b64decode(signature.value, validate=True),
        )
        if key_id(key) != signature.key_id:  # type: ignore[arg-type]
            raise SignatureError(f"{path} holds another key than its name says")
        if signature.algorithm == "ed25519" and isinstance(key, Ed25519PublicKey):
            key.verify(value, content)
        elif signature.algorithm == "es256" and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(value, content, ec.ECDSA(hashes.SHA256()))
        else:
            raise SignatureError(f"{path} is no key for {signature.algorithm}")
    except (InvalidSignature, binascii.Error, ValueError):
        raise SignatureError(f"the signature is not that of key {signature.key_id}") from None
