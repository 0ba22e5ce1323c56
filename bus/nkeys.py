"""NATS identities: Ed25519 key pairs in the NKey text form. Seeds are secrets: files of mode 0600, never logged."""

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

_SEED = 18 << 3
_USER = 20 << 3


class BadSeed(ValueError):
    """The text is no NKey user seed. The text itself is not repeated: it may be a secret."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"not an NKey user seed ({cause}): make one with `gridparley keys`")


class KeyPair:
    """A user's key pair. ``public`` is its name at the server, ``sign`` answers the server's challenge."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public = _text(bytes([_USER]) + raw)

    @classmethod
    def new(cls) -> "KeyPair":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: str) -> "KeyPair":
        try:
            raw = base64.b32decode(seed.strip() + "=" * (-len(seed.strip()) % 8))
        except ValueError:
            raise BadSeed("not base32") from None
        if len(raw) != 36 or _crc16(raw[:-2]) != int.from_bytes(raw[-2:], "little"):
            raise BadSeed("wrong length or checksum")
        if raw[0] & 0xF8 != _SEED or ((raw[0] & 7) << 5 | raw[1] >> 3) != _USER:
            raise BadSeed("of another kind")
        return cls(Ed25519PrivateKey.from_private_bytes(raw[2:34]))

    @classmethod
    def from_file(cls, path: Path) -> "KeyPair":
        return cls.from_seed(path.read_text())

    @property
    def seed(self) -> str:
        raw = self._private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return _text(bytes([_SEED | _USER >> 5, (_USER & 31) << 3]) + raw)

    def sign(self, nonce: str) -> bytes:
        """The answer to a server's nonce, base64 as the protocol wants it."""
        return base64.b64encode(self._private.sign(nonce.encode()))


def _text(raw: bytes) -> str:
    return base64.b32encode(raw + _crc16(raw).to_bytes(2, "little")).decode().rstrip("=")


def _crc16(data: bytes) -> int:
    """CRC-16/XMODEM."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
