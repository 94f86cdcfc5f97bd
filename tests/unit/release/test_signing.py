"""Signatures: only trusted keys seal releases, and no key is ever shown."""

import hashlib
import json
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from ml_platform.registry import ReleaseError
from ml_platform.registry.key_vault import VaultKey
from ml_platform.registry.signing import KeyFile, Signature, SignatureError, check, trust


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    keys = KeyFile(tmp_path / "keys")
    with ThreadPoolExecutor(8) as pool:
        signed = list(pool.map(keys.sign, [b"manifest"] * 8))
    assert len({one.key_id for one in signed}) == 1
    assert stat.S_IMODE((tmp_path / "keys" / "signing.pem").stat().st_mode) == 0o600
    assert sorted(one.name for one in (tmp_path / "keys").iterdir()) == ["signing.pem", "trusted"]
    for one in signed:
        check(tmp_path / "keys", b"manifest", one)


@pytest.mark.parametrize("what", ["content", "value", "key", "algorithm", "base64"])
def test_whatever_is_changed_is_not_believed(tmp_path, what):
    signature, content = KeyFile(tmp_path).sign(b"manifest"), b"manifest"
    other = KeyFile(tmp_path / "other").sign(b"manifest")
    changed = {
        "content": (signature, b"manifes1"),
        "value": (signature.model_copy(update={"value": other.value}), content),
        "key": (other, content),
        "algorithm": (signature.model_copy(update={"algorithm": "es256"}), content),
        "base64": (signature.model_copy(update={"value": "&"}), content),
    }
    with pytest.raises(SignatureError):
        check(tmp_path, changed[what][1], changed[what][0])


def test_a_broken_key_is_named_and_not_shown(tmp_path):
    (tmp_path / "signing.pem").write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    with pytest.raises(SignatureError, match=r"signing\.pem is no private key") as found:
        KeyFile(tmp_path).sign(b"")
    assert "c2VjcmV0" not in str(found.value)
    assert found.value.__cause__ is None


@dataclass
class Vault:
    """As Key Vault's client signs: a digest in, two numbers of 32 bytes out."""

    key: ec.EllipticCurvePrivateKey

    @dataclass
    class Result:
        signature: bytes

    def sign(self, algorithm, digest):
        assert algorithm == "ES256"
        assert len(digest) == hashlib.sha256().digest_size
        told = decode_dss_signature(self.key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return self.Result(b"".join(number.to_bytes(32, "big") for number in told))


def test_a_key_in_a_vault_signs_behind_the_same_protocol(world):
    key = ec.generate_private_key(ec.SECP256R1())
    signer = VaultKey(Vault(key), key.public_key())
    registry = replace(world.registry, signer=signer)
    world.train(world.day)
    folder = registry.key_folder
    signature = signer.sign(b"manifest")
    with pytest.raises(SignatureError, match="is not trusted here"):
        check(folder, b"manifest", signature)
    trust(folder, key.public_key())
    check(folder, b"manifest", signature)
    with pytest.raises(SignatureError):
        check(folder, b"another", signature)


def test_the_key_of_a_vault_is_that_of_azure():
    crypto = pytest.importorskip("azure.keyvault.keys.crypto", reason="needs azure-keyvault-keys")
    assert crypto.SignatureAlgorithm.es256 == "ES256"


def test_a_release_that_nobody_trusted_has_signed_is_refused(world, tmp_path):
    world.train(world.day)
    release = world.registry.build(world.contents())
    stranger = KeyFile(tmp_path / "stranger").sign(release.manifest.to_bytes())
    path = release.folder / "signature.json"
    own = path.read_bytes()
    path.write_bytes(stranger.to_bytes())
    with pytest.raises(ReleaseError, match=r"signature\.json stands for: key [0-9a-f]{16} is not trusted here"):
        world.registry.open(release.release_id)
    path.write_bytes(own.replace(b"\n", b"\n\n", 1))
    with pytest.raises(ReleaseError, match=r"signature\.json is not as it was written"):
        world.registry.open(release.release_id)
    path.write_bytes(own)
    world.registry.open(release.release_id)
    key = next((world.registry.key_folder / "trusted").iterdir())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    key.write_bytes(other.public_bytes(serialization.Encoding.PEM, form))
    with pytest.raises(ReleaseError, match="holds another key than its name says"):
        world.registry.open(release.release_id)
    shutil.rmtree(key.parent)
    with pytest.raises(ReleaseError, match="is not trusted here"):
        world.registry.open(release.release_id)


def test_a_signature_tells_nothing_but_itself(tmp_path):
    told = json.loads(KeyFile(tmp_path).sign(b"x").to_bytes())
    assert set(told) == set(Signature.model_fields) == {"algorithm", "key_id", "value"}
