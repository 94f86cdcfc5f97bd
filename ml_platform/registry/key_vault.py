"""Key Vault: releases are signed with a key that never leaves the vault.

Belongs here: what a vault's client gives, as a signature that `signing` checks without the vault. Does not belong here: building the client (resources).

Key Vault has no Ed25519: it signs digests by ES256 and returns the two numbers one after the other, where DER is what libraries check.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ml_platform.registry.signing import Signature, key_id

HALF = 32  # bytes of each of the two numbers on P-256


class SignResult(Protocol):
    """What azure.keyvault.keys.crypto.SignResult has."""

    @property
    def signature(self) -> bytes: ...


class CryptographyClient(Protocol):
    """What is used of azure.keyvault.keys.crypto.CryptographyClient; algorithm "ES256" is its SignatureAlgorithm.es256."""

    def sign(self, algorithm: str, digest: bytes) -> SignResult: ...


@dataclass(frozen=True)
class VaultKey:
    """A P-256 key in a vault, and its public part; `trust` has to know that part wherever releases are used."""

    client: CryptographyClient
    public: ec.EllipticCurvePublicKey

    def sign(self, content: bytes) -> Signature:
        """Sign the SHA-256 of the content in the vault."""
        told = self.client.sign("ES256", hashlib.sha256(content).digest()).signature
        first, second = (int.from_bytes(part, "big") for part in (told[:HALF], told[HALF:]))
        value = base64.b64encode(encode_dss_signature(first, second)).decode()
        return Signature(algorithm="es256", key_id=key_id(self.public), value=value)
